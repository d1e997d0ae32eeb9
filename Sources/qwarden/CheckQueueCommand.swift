import ArgumentParser
import Files
import Glibc
import Mail
import QmailQueue

struct CheckQueue: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check-queue",
    abstract: "Look for what is wrong in the queue, explain it, and change nothing.",
    discussion: """
      Finds files without the files that belong to them, numbers that are not the inode of their message, files in the wrong directory, \
      wrong owners and modes, names that are not qmail's, and what is wrong in queue/lock. Each finding is a line: what, where, what it \
      means, how to mend it. Works while qmail runs: what seems wrong is looked at again after a second, so mail that is under way is no \
      finding. Notes (\"note:\") say what mends itself.

      Exits 0 when nothing was found but notes, 1 when something was. Needs root: some directories are open to qmail's own users only.
      """)

  @OptionGroup var json: JSONOption
  @OptionGroup var places: Places

  func run() throws {
    let layout = try QueueLayout.read(qmail: places.qmail)
    let check = QueueCheck(layout: layout)
    var findings = try check.suspicions(at: WallClock.now())
    if !findings.isEmpty {
      sleep(1)
      findings = try check.confirmed(findings, at: WallClock.now())
    }
    let faults = findings.count { !$0.fault.isNote }
    do {
      var output = Output.Buffer()
      for finding in findings {
        if json.json { output.line(Self.line(finding)) } else { output.line(Self.text(finding)) }
      }
      if !json.json {
        for note in layout.notes { output.line("note: \(Escaping.terminal(note))") }
        output.line(
          faults == 0
            ? "\(layout.queue): nothing wrong"
            : "\(layout.queue): \(faults) \(faults == 1 ? "finding" : "findings")")
      }
    }
    if faults > 0 { throw ExitCode(Exit.nothingMatched) }
  }

  static func text(_ finding: QueueFinding) -> String {
    let fault = finding.fault
    let detail = finding.detail.map { " (\($0))" } ?? ""
    return
      "\(fault.isNote ? "note: " : "")\(fault.rawValue): \(Escaping.terminal(finding.path))\(detail): \(fault.meaning); \(fault.remedy)"
  }

  static func line(_ finding: QueueFinding) -> JSONLine {
    var line = JSONLine()
    line.add("fault", finding.fault.rawValue)
    line.add("path", finding.path)
    if let detail = finding.detail { line.add("detail", detail) }
    line.add("note", finding.fault.isNote)
    line.add("meaning", finding.fault.meaning)
    line.add("remedy", finding.fault.remedy)
    return line
  }
}
