import Foundation

/// Times qwarden beside the tools that administrators use, in the same run on the same queue, and beside the same in C.
@main struct Bench {
  static let usage = """
    usage: bench --qwarden FILE [--sizes 1000,10000,100000] [--runs 5] [--qmail /var/qmail] [--directory DIR] [--warm]
                 [--json FILE] [--plot FILE [--with FILE]] [--check FILE]
      --qmail      where the incumbents are installed; as root, the queue made here stands in the place of theirs in a
                   mount namespace of our own, and theirs is not touched
      --directory  where queues are made (default: TMPDIR or /tmp); 1,000,000 messages take 3,000,000 inodes and 12 GB
      --warm       only with warm caches; else also cold, where root may drop them
      --with       draw what an earlier run wrote as --json too, such as one of 1,000,000 messages
      --check      compare with the thresholds in FILE; exit 1 when one is not met

    """

  var qwarden = ""
  var sizes = [1000, 10_000, 100_000]
  var runs = 5
  var qmail = "/var/qmail"
  var directory = ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp"
  var isWarmOnly = false
  var json: String?
  var plot: String?
  var with: String?
  var check: String?

  static func main() {
    do {
      let bench = try Bench(CommandLine.arguments.dropFirst())
      try bench.run()
    } catch {
      FileHandle.standardError.write(Data("bench: \(error)\n".utf8))
      exit(1)
    }
  }

  init(_ arguments: ArraySlice<String>) throws {
    var rest = arguments
    while let option = rest.popFirst() {
      if option == "--warm" {
        isWarmOnly = true
        continue
      }
      guard let value = rest.popFirst() else {
        throw Failure("\(option): a value is missing\n\(Self.usage)")
      }
      switch option {
      case "--qwarden": qwarden = value
      case "--sizes": sizes = value.split(separator: ",").compactMap { Int($0) }
      case "--runs": runs = max(1, Int(value) ?? 5)
      case "--qmail": qmail = value
      case "--directory": directory = value
      case "--json": json = value
      case "--plot": plot = value
      case "--with": with = value
      case "--check": check = value
      default: throw Failure("\(option): no such option\n\(Self.usage)")
      }
    }
    if qwarden.isEmpty || sizes.isEmpty { throw Failure(Self.usage) }
  }

  func run() throws {
    let isPrivate = try enterNamespace()
    tell(Result.heading)
    var results: [Result] = []
    for size in sizes {
      let queue = try TestQueue(size, in: directory, standingIn: isPrivate ? qmail : nil)
      defer { queue.remove() }
      results += try Comparisons(bench: self, queue: queue).run { tell($0.row) }
    }
    for missing in Set(results.filter { $0.other != nil && $0.theirs == nil }.compactMap(\.other))
      .sorted()
    {
      tell("missing on this machine: \(missing)")
    }
    if let json {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
      try encoder.encode(results).write(to: URL(fileURLWithPath: json))
    }
    if let plot {
      let earlier = try with.map {
        try JSONDecoder().decode([Result].self, from: Data(contentsOf: URL(fileURLWithPath: $0)))
      }
      try Plot.svg(results + (earlier ?? [])).write(
        toFile: plot, atomically: true, encoding: .utf8)
    }
    if let check {
      let thresholds = try JSONDecoder().decode(
        [Threshold].self, from: Data(contentsOf: URL(fileURLWithPath: check)))
      var (held, broken) = (0, 0)
      for threshold in thresholds {
        switch threshold.verdict(results) {
        case .held: held += 1
        case .notMeasured: tell("not measured on this machine: \(threshold.benchmark)")
        case .broken(let complaint):
          broken += 1
          tell("NOT MET: \(complaint)")
        }
      }
      tell("\(held) of \(thresholds.count) thresholds are held.")
      if broken > 0 { throw Failure("\(broken) thresholds are not met") }
    }
  }

  /// Root, where qmail is installed: a mount namespace of our own, so that the incumbents, which know one queue only, read ours.
  private func enterNamespace() throws -> Bool {
    guard geteuid() == 0, access("\(qmail)/bin/qmail-qstat", X_OK) == 0,
      let unshare = Command.find("unshare")
    else { return false }
    if getenv("BENCH_IS_INSIDE") != nil { return true }
    setenv("BENCH_IS_INSIDE", "1", 1)
    var words: [UnsafeMutablePointer<CChar>?] =
      ([unshare, "--mount", "--propagation", "private"] + CommandLine.arguments).map { strdup($0) }
    words.append(nil)
    execv(unshare, words)
    throw Failure("\(unshare): \(String(cString: strerror(errno)))")
  }
}

/// A line on standard output, at once.
func tell(_ line: String) { FileHandle.standardOutput.write(Data("\(line)\n".utf8)) }
