import Mail
import Replay
import Storms

/// Where two policies decide differently, as an administrator or a program reads it.
struct ComparisonReport {
  private let comparison: Comparison
  /// The names of the two.
  private let first: String
  private let second: String

  init(_ comparison: Comparison, _ first: String, _ second: String) {
    self.comparison = comparison
    self.first = Escaping.terminal(first)
    self.second = Escaping.terminal(second)
  }

  /// Delays under this are the same moment.
  private static let moment = 1.0

  var lines: [String] {
    var lines = ["- \(first)", "+ \(second)"]
    var alike = (storms: 0, blocks: 0, messages: 0)
    for pair in comparison.storms {
      switch (pair.first, pair.second) {
      case (let a?, let b?):
        let delay = b.told.seconds(since: a.told)
        if abs(delay) < Self.moment {
          alike.storms += 1
        } else {
          lines.append(
            "~ \(describe(a.storm)): told \(Readable.age(abs(delay))) \(delay > 0 ? "later" : "earlier") under the second"
          )
        }
      case (let a?, nil): lines.append("- \(a.told.iso8601)  \(describe(a.storm))")
      case (nil, let b?): lines.append("+ \(b.told.iso8601)  \(describe(b.storm))")
      case (nil, nil): break
      }
    }
    for (entry, fates) in blocks {
      if fates.areAlike {
        alike.blocks += 1
      } else {
        lines.append("- block \(entry): \(fates.first.text)")
        lines.append("+ block \(entry): \(fates.second.text)")
      }
    }
    for (fates, messages) in comparison.messages {
      if fates.areAlike {
        alike.messages += messages.count
        continue
      }
      let samples = messages.samples.map { "#\($0)" }.joined(separator: ", ")
      lines.append("- set aside \(messages.count) messages (\(samples)): \(fates.first.text)")
      lines.append("+ set aside \(messages.count) messages (\(samples)): \(fates.second.text)")
    }
    lines.append(
      "alike: \(Readable.count(alike.storms, "storm")), \(Readable.count(alike.blocks, "block")), \(Readable.count(alike.messages, "message")) to set aside"
    )
    return lines
  }

  var json: [JSONLine] {
    var lines: [JSONLine] = []
    func difference(_ what: String, _ fill: (inout JSONLine) -> Void) {
      var line = JSONLine()
      line.add("event", "difference")
      line.add("what", what)
      fill(&line)
      lines.append(line)
    }
    for pair in comparison.storms {
      if let a = pair.first, let b = pair.second,
        abs(b.told.seconds(since: a.told)) < Self.moment
      {
        continue
      }
      guard let storm = (pair.first ?? pair.second)?.storm else { continue }
      difference("storm") { line in
        line.add("kind", storm.kind.rawValue)
        line.add("offenders", storm.offenders.map(\.json))
        for (key, sight) in [("first", pair.first), ("second", pair.second)] {
          if let sight { line.add(key, sight.told.seconds) } else { line.addNull(key) }
        }
      }
    }
    for (entry, fates) in blocks where !fates.areAlike {
      difference("block") { line in
        line.add("value", bytes: entry.bytes)
        line.add("first", fates.first.text)
        line.add("second", fates.second.text)
      }
    }
    for (fates, messages) in comparison.messages where !fates.areAlike {
      difference("quarantine") { line in
        line.add("messages", messages.count)
        line.add("samples", messages.samples)
        line.add("first", fates.first.text)
        line.add("second", fates.second.text)
      }
    }
    return lines
  }

  private var blocks: [(Address, Comparison.Fates)] {
    comparison.blocks.map { ($0.key, $0.value) }.sorted { "\($0.0)" < "\($1.0)" }
  }

  private func describe(_ storm: Storm) -> String { "storm \(storm.kind.rawValue), \(storm.who)" }
}
