import ArgumentParser
import Files
import Glibc
import Mail
import QmailQueue
import Response
import Selection
import Watchdog

/// What `quarantine` and `delete` share on the command line.
struct RemovalOptions: ParsableArguments {
  @OptionGroup var chosen: SelectionOptions
  @Flag(
    name: .shortAndLong,
    help: "Do not ask. Where there is no terminal, delete does nothing without it.")
  var yes = false
  @Flag(
    name: [.customShort("n"), .customLong("dry-run")],
    help: "Say what would be done, and do nothing.")
  var dryRun = false
  @Option(help: ArgumentHelp("Why, for the record.", valueName: "text"))
  var reason = ""
  @Option(
    defaultAsFlag: 60,
    help: ArgumentHelp(
      "Wait so long (60 seconds without a number) for messages that qmail-send has yet to take in, or is trying at the moment.",
      valueName: "seconds"))
  var wait: Int?
  @OptionGroup var color: ColorOption
  @OptionGroup var json: JSONOption
  @OptionGroup var places: Places

  func validate() throws {
    if let wait, !(0...86_400).contains(wait) {
      throw ValidationError("--wait: give a number of seconds up to 86400")
    }
  }

  static let fatesHelp = """
    Marked messages leave the queue at qmail-send's next pass over them: when their next try is due, or at once after 'qwarden retry'. \
    A message that qmail-send is trying at the moment is waited for, 5 seconds or as long as --wait says; then the order is left to the \
    daemon, or where none runs taken back. A message that qmail-send has not taken in yet cannot be removed before it has: --wait waits for that. \
    A message that left meanwhile is told; its number may be another message's by then, which is not touched.

    While qmail-send is stopped root works on the queue itself: messages leave it at once, those that are not taken in yet too. For each \
    lot, about a second, qmail-send's own lock (queue/lock/sendmutex) is held, and a qmail-send started in that moment ends with "already running"; \
    its supervisor starts it again.

    With --json one object a message: id, sender, size, fate (set-aside, deleted, gone, left, being-delivered, unprocessed, failed; planned with --dry-run), \
    in_doubt (recipients a delivery under way may have reached) and why.

    Exits 1 when nothing matched or the answer was no, and 75 when messages stay in the queue that an order given again may get.
    """
}

/// Takes a selection of messages out of the queue: plan, question, work, account.
struct Removal {
  private static let pause: UInt32 = 200_000
  private static let unusualShown = 20

  let options: RemovalOptions
  let keepsCopy: Bool

  func run() throws {
    let selection = try options.chosen.selection(options.places)
    if selection.isEmpty {
      throw PlainFailure(
        "say which messages: numbers or conditions, or --all for every message in the queue",
        Exit.usage)
    }
    let confirmation = Confirmation(isGiven: options.yes)
    // Setting aside can be undone, so a script need not confirm it.
    if !options.dryRun, !keepsCopy { try confirmation.checkPossible() }
    let layout = try QueueLayout.read(qmail: options.places.qmail)
    let plan = try RemovalPlan(selection, layout, now: WallClock.now())
    if plan.messages.isEmpty {
      Output.write(plan.notes, to: STDERR_FILENO)
      throw PlainFailure("no message in the queue matches", Exit.nothingMatched)
    }
    // Objects alone go to standard output where a program reads it.
    Output.write(
      plan.text(now: WallClock.now(), options.color.style),
      to: options.json.json ? STDERR_FILENO : STDOUT_FILENO)
    if options.dryRun {
      if options.json.json {
        var output = Output.Buffer()
        for message in plan.messages { output.line(Self.json(message, fate: "planned")) }
      }
      return
    }
    let hands = try CommandHands.open(options.places)
    let what = Readable.count(plan.messages.count, "message")
    if !keepsCopy {
      try confirmation.require("Delete \(what)? Nothing is kept.")
    } else if confirmation.isTerminal {
      try confirmation.require("Set \(what) aside?")
    }
    let work = RemovalWork(
      hands: hands,
      order: RemovalOrder(
        by: CommandHands.author, reason: options.reason, keepsCopy: keepsCopy),
      wait: options.wait.map(Double.init), isDaemonRunning: daemonIsRunning,
      clock: WallClock.now, pause: { usleep(Self.pause) })
    let account = work.carryOut(plan.messages)
    try tell(account, of: plan, layout)
  }

  private var daemonIsRunning: Bool {
    guard let daemon = try? DaemonState.read(options.places.state) else { return false }
    return daemon.isRunning && daemon.report.qmail == options.places.qmail
  }

  private func tell(_ account: RemovalWork.Account, of plan: RemovalPlan, _ layout: QueueLayout)
    throws
  {
    if options.json.json {
      var output = Output.Buffer()
      for message in plan.messages {
        output.line(Self.json(message, account.told(message), keepsCopy: keepsCopy))
      }
    } else {
      Output.write(text(account, of: plan, layout))
    }
    if let failure = account.failure { throw failure }
    let remaining = plan.messages.count { account.told($0).staysInQueue }
    if remaining > 0 { throw ExitCode(Exit.tryAgain) }
  }

  private func text(_ account: RemovalWork.Account, of plan: RemovalPlan, _ layout: QueueLayout)
    -> String
  {
    var out = ""
    var removed = 0
    var inDoubt = 0
    var unusual = 0
    var untouched = 0
    for message in plan.messages {
      let told = account.told(message)
      if told.name == .removed {
        removed += 1
        inDoubt += told.inDoubt
        continue
      }
      guard account.fates[message.identity.id] != nil else {
        untouched += 1
        continue
      }
      unusual += 1
      if unusual <= Self.unusualShown { out += "\(message.identity.id): \(told.why)\n" }
    }
    if unusual > Self.unusualShown {
      out += "and \(unusual - Self.unusualShown) more; --json tells of each\n"
    }
    if untouched > 0 { out += "\(Readable.count(untouched, "message")) not touched\n" }
    out +=
      "\(keepsCopy ? "set aside" : "deleted") \(removed) of \(Readable.count(plan.messages.count, "message"))"
    if removed > 0 {
      out +=
        QmailSend.isRunning(layout) != false
        ? "; qmail-send removes them at its next pass over each"
        : StoppedQueue.isWritable(layout)
          ? "; qmail-send does not run, so they were removed at once"
          : "; qmail-send does not run, and removes them when it is started"
    }
    out += "\n"
    if inDoubt > 0 {
      out +=
        "\(Readable.count(inDoubt, "recipient")) may have got the message: a delivery was under way\n"
    }
    if removed > 0, keepsCopy {
      out += "list them with 'qwarden quarantined', put them back with 'qwarden release'\n"
    }
    return out
  }

  private static func json(_ message: ChosenMessage, fate: String) -> JSONLine {
    var line = JSONLine()
    line.add("id", message.identity.id)
    line.add("sender", bytes: message.sender.bytes)
    line.add("size", Int(message.size))
    line.add("fate", fate)
    return line
  }

  private static func json(
    _ message: ChosenMessage, _ told: RemovalWork.Told, keepsCopy: Bool
  ) -> JSONLine {
    let isRemoved = told.name == .removed
    var line = json(
      message, fate: isRemoved ? keepsCopy ? "set-aside" : "deleted" : told.name.rawValue)
    if isRemoved { line.add("in_doubt", told.inDoubt) } else { line.add("why", told.why) }
    return line
  }
}
