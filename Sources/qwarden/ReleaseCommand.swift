import ArgumentParser
import Files
import Glibc
import Ledger
import Mail
import Response
import Selection

struct Release: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "release",
    abstract: "Put quarantined messages back into the queue.",
    discussion: """
      Each goes through qmail-queue with its own envelope, to the recipients that were still to be tried when it was set aside; qmail-queue \
      adds one Received line and changes nothing else. A recipient to whom a delivery was under way at that moment may have got the message \
      already: it is left out unless --in-doubt is given. Of recipients that had failed before nobody gets a bounce any more: 'qwarden show' tells of them.

      --to chooses messages by their To field, as in every command; --deliver-to says where they go: to that address instead of \
      their own recipients, such as an abuse desk's.

      Shows what would be released, and asks where there is a terminal to ask on. Exits 1 when nothing matched or the answer was no, \
      75 when it is not certain that qmail-queue took a message, and 65 when the copy of one is damaged or gone.
      """)

  @OptionGroup var chosen: SelectionOptions
  @Flag(
    help:
      "Also to recipients that may have got the message already, and messages whose release was cut off."
  )
  var inDoubt = false
  @Option(
    help: ArgumentHelp(
      "Give it to this address instead of its own recipients, who then get nothing.",
      valueName: "address"))
  var deliverTo: [String] = []
  @Flag(name: .shortAndLong, help: "Do not ask.")
  var yes = false
  @Flag(
    name: [.customShort("n"), .customLong("dry-run")],
    help: "Say what would be released, and release nothing.")
  var dryRun = false
  @OptionGroup var color: ColorOption
  @OptionGroup var places: Places

  func run() throws {
    let selection = try chosen.selection()
    if selection.isEmpty, chosen.incident == nil {
      throw PlainFailure("say which messages: numbers, conditions, --incident or --all", Exit.usage)
    }
    let others = try deliverTo.map(Self.recipient)
    let hands = try CommandHands.open(places)
    let meant = try QuarantineSelection(
      selection: selection, incident: chosen.incident, ledger: hands.ledger,
      places: places, now: WallClock.now())
    var states: Set<QuarantineRecord.State> = [.marked, .gone]
    if inDoubt { states.insert(.releaseInDoubt) }
    var records: [QuarantineRecord] = []
    try meant.forEach(in: states) { record in
      records.append(record)
      return true
    }
    if records.isEmpty {
      try meant.unread.finish()
      var doubtful = 0
      try meant.forEach(in: [.releaseInDoubt]) { record in
        doubtful += 1
        if doubtful <= Self.mostDoubts { Output.complain(record.doubt) }
        return true
      }
      if doubtful > 0 {
        throw PlainFailure(
          "nothing else is in quarantine that matches; \(doubtful) in doubt", Exit.nothingMatched)
      }
      throw PlainFailure("nothing is in quarantine that matches", Exit.nothingMatched)
    }
    let plan = RemovalPlan(
      records.map { record in
        let facts = record.facts
        return ChosenMessage(
          identity: record.identity, sender: facts.sender, size: facts.size,
          recipients: facts.recipients - record.released, isUnprocessed: false,
          subject: facts.subject)
      })
    let text = plan.text(
      now: WallClock.now(), color.style, recipientsAre: "still owed the mail")
    Output.write(text)
    if dryRun { return try meant.unread.finish() }
    let confirmation = Confirmation(isGiven: yes)
    let what = Readable.count(records.count, "message")
    if !others.isEmpty {
      let names = others.map { "<\($0)>" }.joined(separator: ", ")
      try confirmation.require("Release \(what) to \(names), and not to the own recipients?")
    } else if confirmation.isTerminal {
      // It undoes and loses nothing: a script need not confirm it.
      try confirmation.require("Release \(what)?")
    }
    try release(records, to: others, with: hands)
    try meant.unread.finish()
  }

  /// So many messages in doubt are named one by one.
  private static let mostDoubts = 20

  private static func recipient(_ text: String) throws -> Address {
    let bytes = Array(text.utf8)
    let isWhole =
      !bytes.starts(with: [UInt8(ascii: "@")]) && bytes.last != UInt8(ascii: "@")
      && bytes.contains(UInt8(ascii: "@")) && bytes.count <= 900
      && bytes.allSatisfy { $0 > 32 && $0 != 127 }
    guard isWhole else {
      throw PlainFailure(
        "--deliver-to \(Escaping.terminal(text)): write it like user@domain", Exit.usage)
    }
    return Address(bytes)
  }

  private func release(
    _ records: [QuarantineRecord], to others: [Address], with hands: Responder
  ) throws {
    var messages = 0
    var recipients = 0
    var leftOut = 0
    var doubtful = 0
    var failure: Outcome.Failure?
    let progress = Progress(isAlone: true, "messages dealt with")
    defer { progress.end() }
    let known = Dictionary(records.map { ($0.id, $0) }) { first, _ in first }
    var rest = records[...]
    while !rest.isEmpty {
      let some = Array(rest.prefix(Responder.releasedAtOnce))
      rest = rest.dropFirst(some.count)
      progress.advance(by: some.count)
      for outcome in hands.release(some, inDoubt: inDoubt, to: others, at: WallClock.now()) {
        switch outcome {
        case .released(let record, let count):
          messages += 1
          recipients += count
          if !inDoubt, others.isEmpty { leftOut += known[record.id]?.facts.inDoubt ?? 0 }
        case .failed(let why):
          Output.complain(why.description)
          failure = failure ?? why
        case .releaseInDoubt(let record):
          doubtful += 1
          Output.complain(record.doubt)
        default: break
        }
      }
    }
    Output.line(
      others.isEmpty
        ? "released \(messages) of \(Readable.count(records.count, "message")) to \(Readable.count(recipients, "recipient"))"
        : "released \(messages) of \(Readable.count(records.count, "message")) to \(Readable.count(others.count, "other recipient")), instead of \(recipients)"
    )
    if leftOut > 0 {
      Output.line(
        "left out: \(Readable.count(leftOut, "recipient")) to whom a delivery was under way when the message was set aside"
      )
    }
    if let failure {
      throw PlainFailure(
        "still in quarantine: \(Readable.count(records.count - messages, "message"))",
        failure.exitCode)
    }
    if doubtful > 0 { throw ExitCode(Exit.tryAgain) }
  }
}
