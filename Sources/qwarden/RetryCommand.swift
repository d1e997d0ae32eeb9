import ArgumentParser
import Files
import Mail
import QmailQueue
import Selection
import Synchronization

struct Retry: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "retry",
    abstract: "Make qmail-send try the whole queue now.",
    discussion: """
      qmail-send keeps the next times of its messages in its memory, and knows one signal for them: SIGALRM, which brings every deferred \
      message forward at once. Single messages cannot be brought forward. A selection therefore narrows what is told, and not what is tried; \
      without --all and without a selection the whole queue is told of.

      A large queue tried at once costs much, and hosts that defer mail may defer it for longer: it asks before. Messages that were set aside or deleted leave the \
      queue then.

      Exits 1 when nothing matched or the answer was no, 69 when qmail-send does not run.
      """)

  @OptionGroup var chosen: SelectionOptions
  @Flag(name: .shortAndLong, help: "Do not ask. Needed where there is no terminal.")
  var yes = false
  @Flag(
    name: [.customShort("n"), .customLong("dry-run")],
    help: "Say what would be tried, and send nothing.")
  var dryRun = false
  @OptionGroup var json: JSONOption
  @OptionGroup var places: Places

  func run() throws {
    let confirmation = Confirmation(isGiven: yes)
    if !dryRun { try confirmation.checkPossible() }
    let layout = try QueueLayout.read(qmail: places.qmail)
    let selection = try chosen.selection(places)
    let counts = try RetryCounts(selection, layout, now: WallClock.now())
    if counts.selected == 0, selection.isNarrowed {
      throw PlainFailure("no message in the queue matches", Exit.nothingMatched)
    }
    guard QmailSend.process(layout) != nil else {
      throw PlainFailure(
        QmailSend.isRunning(layout) == false
          ? "\(layout.queue): qmail-send does not run; when it is started it tries what is due"
          : "\(layout.queue)/lock/sendmutex: no process named qmail-send is seen to hold it; run this where qmail-send runs, outside its container",
        Exit.noQueue)
    }
    if !json.json {
      Output.line(counts.text(isNarrowed: selection.isNarrowed))
    }
    var told: Int32?
    if !dryRun {
      try confirmation.require("Tell qmail-send to try its whole queue now?")
      told = try QmailSend.tryAllNow(layout)
      if told == nil {
        throw PlainFailure("\(layout.queue): qmail-send has just ended", Exit.noQueue)
      }
    }
    if json.json {
      Output.line(counts.json(told).text)
    } else if let told {
      Output.line("qmail-send (process \(told)) was told to try them all now")
    }
  }
}

/// What SIGALRM would bring forward.
struct RetryCounts: Sendable, Hashable {
  /// Messages with recipients still to be tried, and those recipients.
  var waiting = 0
  var recipients = 0
  /// Messages with nobody left to try: they leave.
  var leaving = 0
  /// Those of the waiting and leaving that are selected.
  var selected = 0

  init() {}

  init(_ selection: Selection, _ layout: QueueLayout, now: Timestamp) throws {
    let isAll = !selection.isNarrowed
    let counts = Mutex(RetryCounts())
    let scanner = QueueScanner(layout: layout)
    try scanner.forEach(
      EntryLook<Int>([.recipients]) { entry, _ in entry.isUnprocessed ? nil : entry.pendingCount }
    ) { findings in
      counts.withLock { counts in
        for pending in findings.items {
          counts.recipients += pending
          if pending > 0 { counts.waiting += 1 } else { counts.leaving += 1 }
          if isAll { counts.selected += 1 }
        }
      }
      return true
    }
    if !isAll {
      let look = selection.look([], now: now) { entry, _ in entry.isUnprocessed ? nil : true }
      try scanner.forEach(look, ids: selection.onlyIDs) { findings in
        counts.withLock { $0.selected += findings.items.count }
        return true
      }
    }
    self = counts.withLock { $0 }
  }

  func text(isNarrowed: Bool) -> String {
    var out =
      "qmail-send can only be told to try its whole queue: \(Readable.count(waiting, "message")) to \(Readable.count(recipients, "recipient"))"
    if isNarrowed { out += "\nselected are \(selected) of them; the others are tried too" }
    if leaving > 0 {
      out +=
        "\n\(Readable.count(leaving, "more message")) with nobody left to try will leave the queue"
    }
    return out
  }

  func json(_ told: Int32?) -> JSONLine {
    var line = JSONLine()
    line.add("messages", waiting)
    line.add("recipients", recipients)
    line.add("leaving", leaving)
    line.add("selected", selected)
    if let told { line.add("process", Int(told)) } else { line.addNull("process") }
    return line
  }
}

extension Selection {
  /// There is a condition: not every message is meant.
  fileprivate var isNarrowed: Bool {
    var conditions = self
    conditions.isEverything = false
    return !conditions.isEmpty
  }
}
