import Mail

/// The totals of many evaluations, and their table.
public struct EvaluationTable: Sendable {
  public private(set) var rows: [Evaluation] = []

  public init() {}

  public mutating func add(_ row: Evaluation) { rows.append(row) }

  private var findings: [Evaluation.Finding] { rows.flatMap(\.findings) }
  private var found: [Evaluation.Finding] { findings.filter { $0.incident != nil } }

  private func isFast(_ finding: Evaluation.Finding) -> Bool {
    let lasted = finding.storm.ends - finding.storm.begins
    return finding.storm.kind == "stall" || Double(finding.storm.messages ?? 0) > 2.7 * lasted
  }

  public var storms: Int { findings.count }
  public var stormsFound: Int { found.count }
  /// Of three messages a second and more.
  public var fastStorms: Int { findings.count { isFast($0) } }
  public var fastStormsFound: Int { found.count { isFast($0) } }
  public var kindsRight: Int { found.count(where: \.isKindRight) }
  public var offendersRight: Int { found.count(where: \.isOffenderRight) }
  public var innocentsBlocked: Int { rows.reduce(0) { $0 + $1.wrongBlocks.count } }
  public var innocentsQuarantined: Int { rows.reduce(0) { $0 + $1.wrongQuarantines.count } }
  public var falseStorms: Int { rows.reduce(0) { $0 + $1.falseStorms.count } }
  public var surges: Int { rows.reduce(0) { $0 + $1.surges.count } }
  public var mostAlerts: Int { rows.map(\.mostAlerts).max() ?? 0 }
  public var medianSeconds: Double { Self.median(found.map(\.seconds)) }
  public var medianMessages: Double { Self.median(found.map { Double($0.messages) }) }
  /// Of those of three messages a second and more.
  public var longestSeconds: Double { found.filter { isFast($0) }.map(\.seconds).max() ?? 0 }
  public var longestOfAll: Double { found.map(\.seconds).max() ?? 0 }
  /// Hours of traffic without and with storms.
  public var hours: Double { rows.reduce(0) { $0 + $1.seconds } / 3600 }

  private static func median(_ values: [Double]) -> Double {
    let sorted = values.sorted()
    return sorted.isEmpty ? 0 : sorted[sorted.count / 2]
  }

  /// The rows, a line a storm.
  public var lines: [String] {
    var lines = [
      Self.pad("scenario", 52) + Self.lead("delay s", 9) + Self.lead("messages", 10)
        + "  kind     offender innocents false surges alerts aside"
    ]
    for row in rows {
      let findings: [Evaluation.Finding?] =
        row.findings.isEmpty ? [nil] : row.findings.map { $0 }
      for (place, finding) in findings.enumerated() {
        var line = Self.pad(place == 0 ? row.name : "  and " + (finding?.storm.kind ?? ""), 52)
        if let finding {
          if finding.incident == nil {
            line += Self.lead("NOT FOUND", 9) + Self.lead("-", 10) + "  -        -       "
          } else {
            line +=
              Self.lead(finding.seconds.tenths(), 9) + Self.lead("\(finding.messages)", 10)
            line += "  " + Self.pad(finding.isKindRight ? "right" : "WRONG", 9)
            line += Self.pad(finding.isOffenderRight ? "right" : "WRONG", 8)
          }
        } else {
          line += Self.lead("none", 9) + Self.lead("-", 10) + "  -        -       "
        }
        if place == 0 {
          line += Self.lead("\(row.wrongBlocks.count + row.wrongQuarantines.count)", 10)
          line += Self.lead("\(row.falseStorms.count)", 6) + Self.lead("\(row.surges.count)", 7)
          line += Self.lead("\(row.mostAlerts)", 7) + Self.lead("\(row.rightQuarantines)", 6)
        }
        lines.append(line)
        if place == findings.count - 1 {
          for text in row.wrongBlocks.prefix(3) { lines.append("    ! blocked: \(text)") }
          for text in row.wrongQuarantines.prefix(3) { lines.append("    ! set aside: \(text)") }
          for text in row.falseStorms.prefix(3) { lines.append("    ! false: \(text)") }
          for finding in row.findings where finding.incident != nil && !finding.isOffenderRight {
            lines.append("    ! named: \(finding.offenders.joined(separator: ", "))")
          }
        }
      }
    }
    return lines
  }

  public var totals: [String] {
    [
      "storms found            \(stormsFound) of \(storms); of three a second and more \(fastStormsFound) of \(fastStorms)",
      "kind right              \(kindsRight) of \(stormsFound)",
      "offender right          \(offendersRight) of \(stormsFound)",
      "delay                   median \(medianSeconds.tenths()) s, \(Int(medianMessages)) messages; longest \(longestSeconds.tenths()) s of three a second and more, \(longestOfAll.tenths()) s of all",
      "innocents               \(innocentsBlocked) blocked, \(innocentsQuarantined) messages quarantined",
      "false storms            \(falseStorms) in \(hours.tenths()) h of traffic; surges told of: \(surges)",
      "alerts of an incident   at most \(mostAlerts) beyond begin and end",
    ]
  }

  private static func pad(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(1, width - text.count))
  }
  private static func lead(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(1, width - text.count)) + text
  }
}
