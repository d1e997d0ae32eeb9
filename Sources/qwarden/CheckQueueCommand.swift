import ArgumentParser
import Files
import Glibc
import Mail
import QmailQueue

struct CheckQueue: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check-queue",
    abstract: "Look for what is wrong in the queue, and explain it; mend it where told to.",
    discussion: """
      Finds files without the files that belong to them, numbers that are not the inode of their message, files in the wrong directory, \
      wrong owners and modes, names that are not qmail's, and what is wrong in queue/lock. Each finding is a line: what, where, what it \
      means, how to mend it. Works while qmail runs: what seems wrong is looked at again after a second, so mail that is under way is no \
      finding. Notes (\"note:\") say what mends itself.

      With --mend it shows what it would do about each finding, asks, and does it: owners and modes are set, files are moved to the directory of their \
      number, what belongs to no message and is older than 36 hours moves to lost+found in the state directory, a missing trigger is made, \
      hosts noted with a wrong clock are forgotten. Nothing is destroyed. What could be meant in two ways is left, and said. \
      qmail-send must be stopped: its lock is held, for 256 findings at a time, and each is looked at once more before it is mended.

      Exits 0 when nothing was found but notes, or all was mended; 1 when something is wrong still; 69 when it is to mend and qmail-send runs. \
      Needs root: some directories are open to qmail's own users only.
      """)

  @Flag(help: "Mend what can be mended without a doubt, with qmail-send stopped.")
  var mend = false
  @Flag(name: .shortAndLong, help: "With --mend, do not ask.")
  var yes = false
  @Flag(
    name: [.customShort("n"), .customLong("dry-run")],
    help: "With --mend, say what would be done, and do nothing.")
  var dryRun = false
  @OptionGroup var json: JSONOption
  @OptionGroup var places: Places

  func validate() throws {
    if !mend, yes || dryRun { throw ValidationError("--yes and --dry-run go with --mend") }
  }

  func run() throws {
    let layout = try QueueLayout.read(qmail: places.qmail)
    let check = QueueCheck(layout: layout)
    var findings = try check.suspicions(at: WallClock.now())
    if !findings.isEmpty {
      sleep(1)
      findings = try check.confirmed(findings, at: WallClock.now())
    }
    if mend { return try mendAll(findings, layout) }
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
            : "\(layout.queue): \(Readable.count(faults, "finding"))")
      }
    }
    if faults > 0 { throw ExitCode(Exit.nothingMatched) }
  }

  // MARK: Mending

  private func mendAll(_ findings: [QueueFinding], _ layout: QueueLayout) throws {
    let mend = try QueueMend(layout: layout, lostAndFound: "\(places.state)/lost+found")
    let steps = mend.plan(findings, at: WallClock.now())
    let doable = steps.count { $0.action != nil }
    if !json.json || !dryRun {
      Output.write(Self.plan(steps, layout), to: json.json ? STDERR_FILENO : STDOUT_FILENO)
    }
    if dryRun || doable == 0 {
      if json.json {
        var output = Output.Buffer()
        for step in steps { output.line(Self.line(step, isDone: false, why: nil)) }
      }
      if steps.contains(where: { !$0.finding.fault.isNote }) {
        throw ExitCode(Exit.nothingMatched)
      }
      return
    }
    if QmailSend.isRunning(layout) != false {
      throw PlainFailure(MendError.running.description, Exit.noQueue)
    }
    try Confirmation(isGiven: yes).require("Mend \(Readable.count(doable, "finding"))?")
    try Folder.make(places.state)
    var output = Output.Buffer()
    var mended = 0
    var stopped: MendError?
    do throws(MendError) {
      try mend.carryOut(steps, at: WallClock.now()) { step, failure in
        if failure == nil { mended += 1 }
        if json.json {
          output.line(Self.line(step, isDone: failure == nil, why: failure))
        } else if let failure {
          output.line(
            "not mended: \(Escaping.terminal(step.finding.path)): \(Escaping.terminal(failure))")
        }
      }
    } catch { stopped = error }
    let left = steps.count - mended
    if !json.json { output.line("mended \(mended), left \(left)") }
    output.flush()
    if let stopped { throw PlainFailure(stopped.description, Exit.noQueue) }
    if left > 0 { throw ExitCode(Exit.nothingMatched) }
  }

  static func plan(_ steps: [QueueMend.Step], _ layout: QueueLayout) -> String {
    if steps.isEmpty { return "\(layout.queue): nothing to mend\n" }
    return steps.map { step in
      let what = "\(step.finding.fault.rawValue): \(Escaping.terminal(step.finding.path))"
      return step.action.map { "mend: \(what): \($0)\n" }
        ?? "left: \(what): \(step.finding.fault.remedy)\n"
    }.joined()
  }

  static func line(_ step: QueueMend.Step, isDone: Bool, why: String?) -> JSONLine {
    var line = line(step.finding)
    if let action = step.action { line.add("mend", "\(action)") } else { line.addNull("mend") }
    line.add("done", isDone)
    if let why { line.add("why", why) }
    return line
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
