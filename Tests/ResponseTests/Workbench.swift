import Files
import Fixtures
import Glibc
import Ledger
import Mail
import Policy
import QmailControl
import QmailQueue
import QmailSimulator
import Storms
import Testing

@testable import Response

/// A simulated qmail with a state directory, in a directory of its own that is removed at the end of the test.
///
/// Its `bin/qmail-queue` is a small script that queues like the real one, so that a release can be followed to its delivery.
final class Workbench {
  private let folder = TemporaryFolder()
  let path: String
  let sim: SimulatedQmail
  /// When the test begins; a little in the past, so that files made by the kernel's clock are never older.
  let start = WallClock.now() - .seconds(50_000)
  var now: Timestamp
  var policy = Policy()
  /// Answers by recipient; deferral when it says nothing.
  var answers: @Sendable (DeliveryAttempt) -> SendLogLine.Outcome = { _ in .deferral }
  private(set) var log: [String] = []
  private(set) var deliveries: [(attempt: DeliveryAttempt, message: [UInt8])] = []

  var qmail: String { "\(path)/qmail" }
  var state: String { "\(path)/state" }
  var badmailfrom: String { "\(qmail)/control/badmailfrom" }

  init(control: [String: String] = SimulatedQmail.usualControl) throws {
    path = folder.path
    now = start
    try Folder.make("\(path)/state")
    for folder in ["proc", "proc/1"] { try Folder.make("\(path)/\(folder)") }
    try Replacement.write([], to: "\(path)/proc/1/comm", mode: 0o600, durable: false)
    sim = try SimulatedQmail.create(at: "\(path)/qmail", control: control, time: .virtual)
    policy.mode = .enforce
    // The machine that runs the tests may be nearly full.
    policy.quarantine.minimumFreeSpace = 0
    policy.quarantine.minimumFreeInodes = 0
    try installQueueProgram()
    sim.onLog = { [weak self] _, line in self?.log.append(line) }
    sim.onDelivery = { [weak self] in self?.deliveries.append(($0, $1)) }
    obey { _ in .deferral }
    try sim.start(at: now)
  }

  func obey(_ answers: @escaping (DeliveryAttempt) -> SendLogLine.Outcome) {
    sim.exchanger = SteadyExchanger(answers)
  }

  /// A fresh process: ledger and hands opened anew on what is on disk.
  func responder() throws -> Responder {
    let responder = Responder(
      places: .init(qmail: qmail, state: state), layout: try QueueLayout.read(qmail: qmail),
      ledger: try Ledger("\(state)/ledger.sqlite"), policy: policy,
      control: try ControlDirectory(qmail: qmail).read(), dialect: .stock)
    let proc = "\(path)/proc"
    responder.look = { try DeliveriesInFlight.look(proc: proc) }
    return responder
  }

  /// Queues a message and lets qmail-send take it in and try it once.
  func message(
    from sender: String = "alice@mx.test", to recipients: [String] = ["bob@remote.example"],
    body: String = "hello\n"
  ) throws -> EntryIdentity {
    let id = try sim.inject(
      SimulatedInjection(
        sender: Address(sender), recipients: recipients.map { Address($0) },
        source: .network(client: "198.18.0.9", helo: "x", user: "alice"),
        message: Array("Subject: spam\n\n\(body)".utf8)), at: now)
    pass(seconds: 1)
    let info = try FileStatus.of(try QueueLayout.read(qmail: qmail).path(.info, id))
    return EntryIdentity(id: id, birth: info.modified)
  }

  /// Queues a message while qmail-send is stopped.
  func unprocessed(
    from sender: String, to recipients: [String] = ["bob@remote.example", "carol@mx.test"]
  ) throws -> UnprocessedMessage {
    let layout = try QueueLayout.read(qmail: qmail)
    let id = try sim.inject(
      SimulatedInjection(
        sender: Address(sender), recipients: recipients.map { Address($0) },
        source: .uid(33), message: Array("Subject: spam\n\nhello\n".utf8)), at: now)
    let birth = try FileStatus.of(layout.path(.todo, id)).modified
    return try #require(
      UnprocessedMessage(
        EntryIdentity(id: id, birth: birth), sender: Address(sender), in: layout))
  }

  func pass(seconds: Double) {
    let end = now + .seconds(seconds)
    sim.advance(to: end, from: now)
    now = end
  }

  /// Ticks until nothing is left to copy or mark.
  @discardableResult
  func settle(_ responder: Responder) -> [Outcome] {
    var outcomes: [Outcome] = []
    for _ in 0..<20 {
      let progress = responder.quarantineTick(at: now)
      outcomes += progress.outcomes
      if progress.waiting == 0 { break }
    }
    return outcomes
  }

  func quarantine(_ identities: [EntryIdentity], with responder: Responder) -> [Outcome] {
    responder.perform(
      identities.map { PlannedAction(incident: 1, action: .quarantine($0)) }, at: now)
      + settle(responder)
  }

  /// The letters of the entry's recipient records, local then remote; nil when it is not in the queue.
  func letters(_ identity: EntryIdentity) throws -> String? {
    let layout = try QueueLayout.read(qmail: qmail)
    guard (try? FileStatus.of(layout.path(.info, identity.id)))?.modified == identity.birth else {
      return nil
    }
    var letters = ""
    for kind in [QueueFile.local, .remote] {
      guard let file = try? Descriptor.open(layout.path(kind, identity.id)) else { continue }
      let bytes = try file.readAll(limit: 1 << 20)
      let records = RecipientFile(bytes.span).recipients
      letters += records.map { $0.isDone ? "D" : "T" }.joined()
    }
    return letters
  }

  func bytes(_ path: String) throws -> [UInt8] {
    try Descriptor.open(path).readAll(limit: 1 << 20)
  }

  func text(_ path: String) throws -> String { String(decoding: try bytes(path), as: UTF8.self) }

  func write(_ text: String, to path: String) throws {
    let file = try Descriptor.open(path, [.write, .create, .truncate], mode: 0o644)
    try file.write(text.utf8, at: 0)
  }

  /// A delivery in flight, as `/proc` shows it.
  func beginDelivery(from sender: String, to recipient: String, in folder: String = "proc/77")
    throws
  {
    try Folder.make("\(path)/\(folder)")
    try write("qmail-remote\n", to: "\(path)/\(folder)/comm")
    try write(
      "qmail-remote\0remote.example\0\(sender)\0\(recipient)\0", to: "\(path)/\(folder)/cmdline")
  }

  func endDelivery() { TemporaryFolder.remove("\(path)/proc/77") }

  private func installQueueProgram() throws {
    let script = """
      #!/bin/sh
      exec 3<&1
      q='\(path)/qmail/queue'
      m=$q/pid/$$.m
      e=$q/pid/$$.e
      { printf 'Received: (qmail %s invoked by uid 0); 1 Jan 2026 00:00:00 -0000\\n' $$; cat; } >$m
      { printf 'u0\\000p%s\\000' $$; cat <&3; } >$e
      if [ "$(tail -c 2 $e | od -An -tx1 | tr -d ' \\n')" != 0000 ]; then rm $m $e; exit 54; fi
      [ -e '\(path)/full' ] && { rm $m $e; exit 53; }
      id=$(stat -c %i $m)
      mv $m $q/mess/$((id % 23))/$id
      head -c -1 $e >$q/intd/$id
      rm $e
      ln $q/intd/$id $q/todo/$id
      [ -e '\(path)/deaf' ] && { rm '\(path)/deaf'; kill -9 $$; }
      exit 0
      """
    try write(script, to: "\(path)/qmail/bin/qmail-queue")
    try Descriptor.open("\(path)/qmail/bin/qmail-queue", .readWrite).setPermissions(0o755)
  }
}

extension Outcome {
  var quarantined: QuarantineRecord? {
    if case .quarantined(let record) = self { record } else { nil }
  }
  var gone: QuarantineRecord? { if case .gone(let record) = self { record } else { nil } }
  var abandoned: QuarantineRecord? { if case .abandoned(let record) = self { record } else { nil } }
  var released: QuarantineRecord? {
    if case .released(let record, _) = self { record } else { nil }
  }
  var failure: Failure? { if case .failed(let failure) = self { failure } else { nil } }
  var blocked: Block? { if case .blocked(let block) = self { block } else { nil } }
  var unblocked: Block? { if case .unblocked(let block) = self { block } else { nil } }
}

extension Storm {
  static func test(
    _ kind: StormKind = .relaySender, offenders: [Offender] = [.sender(Address("alice@mx.test"))],
    victims: [String] = [], proven: Bool = true
  ) -> Storm {
    var evidence = Evidence()
    evidence.messages = 100
    evidence.recipients = 300
    evidence.failuresProven = proven
    let noon = Timestamp(seconds: 1_795_000_000)
    return Storm(
      incident: 1, kind: kind, began: noon, lastSeen: noon, offenders: offenders,
      victims: victims, evidence: evidence, reason: "alice@mx.test floods")
  }
}
