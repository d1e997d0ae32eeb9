import Corpus
import Glibc
import Mail
import Storms

/// `make evaluate`: the corpus, or a directory of traces, through detector and planner; a table and its totals.
///
///     evaluate [--quick] [--only TEXT] [--events] [--write DIR] [TRACES]
@main
struct Evaluate {
  static func main() {
    do {
      try run(Array(CommandLine.arguments.dropFirst()))
    } catch {
      print("evaluate: \(error)")
      exit(65)
    }
  }

  struct Problem: Error, CustomStringConvertible { var description: String }

  static func run(_ arguments: [String]) throws {
    var rest = arguments
    func take(_ option: String) -> String? {
      guard let at = rest.firstIndex(of: option), at + 1 < rest.count else { return nil }
      defer { rest.removeSubrange(at...(at + 1)) }
      return rest[at + 1]
    }
    let only = take("--only")
    let target = take("--write")
    let isQuick = rest.contains("--quick")
    let showsEvents = rest.contains("--events")
    rest.removeAll { $0 == "--quick" || $0 == "--events" }
    var table = EvaluationTable()
    if let directory = rest.first {
      for name in try traces(directory) {
        let truth = try Truth(Disk.read("\(directory)/\(name).truth.json"))
        let bytes = try Disk.gunzip("\(directory)/\(name).jsonl.gz")
        table.add(try Evaluation(name, trace: bytes, truth: truth))
      }
    } else {
      for scenario in isQuick ? Catalog.quick : Catalog.full {
        if let only, !scenario.name.contains(only) { continue }
        if let target {
          try write(scenario, to: target)
        } else {
          table.add(Evaluation(scenario))
        }
      }
    }
    if target != nil { return }
    if showsEvents {
      for row in table.rows {
        print(row.name)
        for event in row.events { print("  \(event)") }
      }
    }
    for line in table.lines { print(line) }
    print("")
    for line in table.totals { print(line) }
  }

  static func traces(_ directory: String) throws -> [String] {
    let names = try Disk.names(directory).filter { $0.hasSuffix(".jsonl.gz") }
    return names.map { String($0.dropLast(".jsonl.gz".count)) }.sorted()
  }

  /// The scenario as a trace and its truth.
  static func write(_ scenario: Scenario, to directory: String) throws {
    let name = String(scenario.name.map { $0.isLetter || $0.isNumber ? $0 : "_" })
    let writer = TraceWriter(header: scenario.header)
    let pipe = try Disk.Gzip("\(directory)/\(name).jsonl.gz")
    pipe.write(writer.firstLine)
    var innocents: Set<String> = []
    var guilty: Set<String> = []
    var (truth, _) = scenario.play { observation, storm in
      pipe.write(writer.line(for: observation))
      guard case .arrival(let entry) = observation.event, !entry.source.isBounce else { return }
      var names = entry.sender.isBounceSender ? [] : [Text.decode(entry.sender.bytes)]
      if case .network(let client, _, _) = entry.source { names.append(client) }
      if storm == nil { innocents.formUnion(names) } else { guilty.formUnion(names) }
    }
    truth.innocents = innocents.subtracting(guilty)
    try Disk.write(truth.json, to: "\(directory)/\(name).truth.json")
  }
}
