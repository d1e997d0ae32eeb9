import Files
import Foundation
import GRDB
import Glibc
import Ledger
import Mail
import Policy
import QmailControl
import QmailQueue
import QmailSimulator
import Response
import Storms
import Synchronization
import Systemd
import Testing

@testable import Watchdog

@Suite(.serialized) struct WatchdogTests {
  /// Ordinary mail, and alice's account hijacked from second 1 on.
  private static let flood =
    Traffic(.ordinary, messages: 20, perSecond: 6, seed: 3)
    + Traffic(.hijackedAccount, messages: 300, perSecond: 60, start: .seconds(1), seed: 4)

  private func run<T>(
    _ watched: WatchedQmail, _ traffic: Traffic, _ body: (TrafficDriver) async throws -> T
  ) async throws -> T {
    let qmail = try SimulatedQmail.create(at: watched.qmail)
    let driver = TrafficDriver(qmail, traffic: traffic, clock: WallClock.now)
    return try await watched.whilePlaying(driver) { try await body(driver) }
  }

  @Test("an order that its command has left to the daemon is carried out and told of")
  func leftOrder() async throws {
    let watched = WatchedQmail()
    let few = Traffic(.hijackedAccount, messages: 25, perSecond: 60, seed: 3)
    try await run(watched, few) { _ in
      let watchdog = try watched.watchdog(.brisk)
      watchdog.start {}
      let scanner = QueueScanner(layout: try QueueLayout.read(qmail: watched.qmail))
      // Whoever is in the queue at this moment may be gone at the next.
      let isTold = try await watched.wait(20) {
        let waiting = Mutex<[Entry]>([])
        try scanner.forEachEntry { outcomes in
          for case .entry(let entry) in outcomes where entry.pendingCount > 0 {
            waiting.withLock { $0.append(entry) }
          }
          return true
        }
        let chosen = waiting.withLock { $0 }.filter { !$0.isUnprocessed }
        _ = try Ledger("\(watched.state)/ledger.sqlite").orderQuarantine(
          of: chosen.map { ($0.identity, $0.sender) }[...], note: "by root: spam",
          keeping: .seconds(3600), at: WallClock.now())
        return watched.witness.events(.quarantined).contains {
          $0.message.hasSuffix("set aside, as ordered by root: spam")
        }
      }
      #expect(isTold)
    }
  }

  @Test("enforce: a hijacked account is blocked, its waiting mail set aside, nobody else's touched")
  func enforce() async throws {
    let watched = WatchedQmail()
    // Longer than any delay of a busy machine: it ends with the test, and mail must still come when the block stands.
    let lasting = Traffic(
      .hijackedAccount, messages: 5000, perSecond: 60, start: .seconds(6), seed: 5)
    try await run(watched, Self.flood + lasting) { driver in
      let watchdog = try watched.watchdog(.brisk)
      watchdog.start {}
      let acted = await watched.wait(40) {
        !watched.witness.events(.quarantined).isEmpty
          && !watched.witness.events(.blockAdded).isEmpty
      }
      #expect(acted, "\(watched.witness.events.map(\.message).joined(separator: "\n"))")
      let isSettled = await watched.wait(40) {
        let status = await watchdog.status()
        return status.quarantined > 0 && status.quarantinePending == 0
      }
      #expect(isSettled)
      // On a machine too busy for the simulated qmail a stall may be seen too.
      let storms = watched.witness.events(.stormBegan).filter {
        !$0.fields.contains(JournalField(.kind, "stall"))
      }
      #expect(storms.count == 1)
      #expect(storms.first?.fields.contains(JournalField(.offender, "alice@mx.test")) == true)
      #expect(watched.badmailfrom.contains("\nalice@mx.test\n"))
      let isRefused = await watched.wait(40) { await driver.report.refused > 0 }
      #expect(isRefused)
      // What had come before the block is dealt with after it, sooner or later.
      let isCleared = try await watched.wait(40) {
        try !Self.pending(watched).contains(Address("alice@mx.test"))
      }
      let left = isCleared ? "" : try Self.left(watched)
      let told = watched.witness.events.map(\.message).joined(separator: "\n")
      #expect(isCleared, "\(left)\n\(told)")
      let kept = try watched.ledger().quarantine([.marked, .gone], after: 0, limit: 1000)
      #expect(!kept.isEmpty)
      #expect(kept.allSatisfy { $0.facts.sender == Address("alice@mx.test") })
      await watchdog.stop()
    }
    // What is still pending in the queue is nobody's of the storm.
    #expect(try !Self.pending(watched).contains(Address("alice@mx.test")))
  }

  /// What is still to be done for the storm's sender, and what the ledger says of each: for a failure's report.
  private static func left(_ watched: WatchedQmail) throws -> String {
    let left = Witnessed<Entry>()
    try QueueScanner(layout: QueueLayout.read(qmail: watched.qmail)).forEachEntry { outcomes in
      for case .entry(let entry) in outcomes where entry.sender == Address("alice@mx.test") {
        left.add(entry)
      }
      return true
    }
    let ledger = try watched.ledger()
    return try left.values.filter { $0.pendingCount > 0 }.map { entry in
      "\(entry) \(String(describing: try ledger.quarantine(of: entry.identity)))"
    }.joined(separator: "\n")
  }

  /// Senders of what somebody is still to get.
  private static func pending(_ watched: WatchedQmail) throws -> [Address] {
    let pending = Witnessed<Address>()
    try QueueScanner(layout: QueueLayout.read(qmail: watched.qmail)).forEachEntry { outcomes in
      for case .entry(let entry) in outcomes where entry.pendingCount > 0 {
        pending.add(entry.sender)
      }
      return true
    }
    return pending.values
  }

  @Test("the loop stands still for a second, and no longer, where another process holds the ledger")
  func heldLedger() async throws {
    let watched = WatchedQmail()
    _ = try SimulatedQmail.create(at: watched.qmail)
    let watchdog = try watched.watchdog(.brisk)
    let ledger = await watchdog.ledger
    try DatabaseQueue(path: ledger.path).inDatabase { other in
      try other.execute(sql: "BEGIN IMMEDIATE")
      let wait = ContinuousClock().measure { try? ledger.probe() }
      #expect(wait >= .seconds(1) && wait < .seconds(4), "\(wait)")
      try other.execute(sql: "ROLLBACK")
    }
  }

  @Test(
    "a damaged ledger: set aside, an alert, told in status, and the quarantine taken up again; an empty one: an alert and the same",
    arguments: ["no ledger any more\n", ""])
  func damagedLedger(remains: String) async throws {
    let watched = WatchedQmail()
    let qmail = try SimulatedQmail.create(at: watched.qmail, time: .virtual)
    qmail.exchanger = SteadyExchanger { _ in .deferral }
    let now = WallClock.now() - .seconds(10)
    try qmail.start(at: now)
    let id = try qmail.inject(
      SimulatedInjection(
        sender: Address("alice@mx.test"), recipients: [Address("damaged@remote.example")],
        source: .network(client: "198.18.0.9", helo: "x", user: "alice"),
        message: Array("Subject: spam\n\nhello\n".utf8)), at: now)
    qmail.advance(to: now + .seconds(1), from: now)
    let layout = try QueueLayout.read(qmail: watched.qmail)
    let birth = try FileStatus.of(layout.path(.info, id)).modified
    let identity = EntryIdentity(id: id, birth: birth)
    try Folder.make(watched.state)
    do {
      let responder = Responder(
        places: Responder.Places(qmail: watched.qmail, state: watched.state), layout: layout,
        ledger: try watched.ledger(), policy: .brisk,
        control: try ControlDirectory(qmail: watched.qmail).read(), dialect: .stock)
      let order = RemovalOrder(by: "root", reason: "", keepsCopy: true)
      let (fates, failure) = responder.remove(
        [(identity, Address("alice@mx.test"))], by: order, at: WallClock.now())
      #expect(failure == nil)
      #expect(fates[identity] == .removed(inDoubt: 0))
    }
    for suffix in ["-wal", "-shm"] { unlink("\(watched.state)/ledger.sqlite\(suffix)") }
    try Replacement.write(
      Array(remains.utf8), to: "\(watched.state)/ledger.sqlite", mode: 0o600)

    let status = try watched.watchdog(.brisk).runOnce()
    if remains.isEmpty {
      #expect(status.damagedLedger == nil)
    } else {
      let aside = try #require(status.damagedLedger)
      #expect(try Descriptor.open(aside).readAll(limit: 100) == Array(remains.utf8))
      #expect(status.line.contains(aside))
      let alert = try #require(watched.witness.events(.degraded).first)
      #expect(alert.priority == .alert && alert.message.contains(aside))
    }
    let told = try #require(watched.witness.events(.quarantined).first)
    #expect(told.priority == .alert && told.message.contains("not in the ledger"))
    // What was set aside before is set aside still, and can be given back.
    let rows = try watched.ledger().quarantine(id: id)
    #expect(rows.map(\.state) == [.marked])
    #expect(rows.first?.facts.sender == Address("alice@mx.test"))
    #expect(rows.first?.facts.recipients == 1)
  }

  @Test("mail that a command takes out is no delivery in the storm's evidence")
  func ordered() async throws {
    let watched = WatchedQmail()
    let qmail = try SimulatedQmail.create(
      at: watched.qmail,
      exchanger: SteadyExchanger {
        $0.recipient.bytes.first == UInt8(ascii: "a") ? .failure : .deferral
      })
    try qmail.start(at: WallClock.now())
    var policy = Policy.brisk
    policy.mode = .observe
    policy.quarantine.minimumFreeSpace = 0
    policy.quarantine.minimumFreeInodes = 0
    let watchdog = try watched.watchdog(policy)
    watchdog.start {}
    for number in 0..<90 {
      try qmail.inject(
        SimulatedInjection(
          sender: Address("alice@mx.test"),
          recipients: [Address("a@d\(number).example"), Address("b@e\(number).example")],
          source: .network(client: "198.18.0.9", helo: "x", user: "alice"),
          message: Array("Subject: spam\n\nhello\n".utf8)), at: WallClock.now())
      qmail.step(now: WallClock.now())
    }
    func finished() throws -> [Int] {
      try watched.ledger().openIncidents().map { $0.evidence.delivered + $0.evidence.failed }
    }
    let began = await watched.wait(20) { !watched.witness.events(.stormBegan).isEmpty }
    try #require(began)
    let layout = try QueueLayout.read(qmail: watched.qmail)
    let found = Witnessed<(identity: EntryIdentity, sender: Address)>()
    try QueueScanner(layout: layout).forEachEntry { outcomes in
      for case .entry(let entry) in outcomes { found.add((entry.identity, entry.sender)) }
      return true
    }
    try await Task.sleep(for: .milliseconds(600))
    let before = try finished()
    let hands = Responder(
      places: .init(qmail: watched.qmail, state: watched.state), layout: layout,
      ledger: try watched.ledger(), policy: policy,
      control: try ControlDirectory(qmail: watched.qmail).read(), dialect: .stock)
    hands.patience = .seconds(10)
    let (fates, failure) = hands.remove(
      found.values, by: RemovalOrder(by: "root", reason: "", keepsCopy: true), at: WallClock.now())
    #expect(failure == nil)
    #expect(fates.values.count { $0 == .removed(inDoubt: 0) } == 90)
    try await Task.sleep(for: .milliseconds(800))
    #expect(try finished() == before)
    await watchdog.stop()
  }

  @Test("observe: everything is said and nothing is done")
  func observe() async throws {
    let watched = WatchedQmail()
    var policy = Policy.brisk
    policy.mode = .observe
    let path = "\(watched.path)/policy.yaml"
    try await run(watched, Self.flood) { _ in
      let watchdog = try watched.watchdog(policy, policyPath: path)
      watchdog.start {}
      let said = await watched.wait(40) {
        !watched.witness.events(.blockHeld).isEmpty
          && !watched.witness.events(.quarantineHeld).isEmpty
      }
      #expect(said, "\(watched.witness.events.map(\.message))")
      #expect(watched.witness.events(.quarantineHeld).count == 1)
      #expect(watched.badmailfrom == "")
      #expect(try watched.ledger().quarantineCounts().isEmpty)
      let typed = "[qwarden quarantine --incident 1]"
      #expect(watched.witness.events(.quarantineHeld).first?.advice.last?.hasSuffix(typed) == true)
      // From now on it acts; what is to be done about the mail until now is told.
      try Replacement.write(
        Array("mode: enforce\nlog: {source: none}\n".utf8), to: path, mode: 0o600)
      await watchdog.reload()
      let advice = watched.witness.events(.policyReloaded).first?.advice
      #expect(
        advice == ["What incident 1 brought before stays in the queue; to set it aside: \(typed)"])
      await watchdog.stop()
    }
  }

  @Test("a storm that goes on over a restart stays the same incident")
  func restart() async throws {
    let watched = WatchedQmail()
    var policy = Policy.brisk
    policy.blocking.isEnabled = false
    try await run(watched, Self.flood) { _ in
      let first = try watched.watchdog(policy)
      first.start {}
      #expect(await watched.wait(40) { !watched.witness.events(.stormBegan).isEmpty })
      await first.stop()
    }
    let report = try watched.watchdog(policy).runOnce()
    #expect(report.storms.map(\.incident) == [1])
    #expect(watched.witness.events(.stormBegan).count == 1)
  }

  @Test("a policy that cannot be used is refused on reload, a good one comes into force")
  func reload() async throws {
    let watched = WatchedQmail()
    _ = try SimulatedQmail.create(at: watched.qmail)
    let path = "\(watched.path)/policy.yaml"
    try Replacement.write(Array("mode: enforce\nmoed: x\nfoo: x\n".utf8), to: path, mode: 0o600)
    let watchdog = try watched.watchdog(.unlogged, policyPath: path)
    watchdog.start {}
    #expect(await watched.wait(20) { !watched.witness.events(.started).isEmpty })
    await watchdog.reload()
    #expect(await watchdog.status().mode == "observe")
    #expect(watched.witness.events(.policyRefused).first?.message.contains("moed") == true)
    // One line, whatever else is wrong in it.
    let reason = watched.witness.events(.policyRefused).first?.fields.last
    #expect(
      reason?.value
        == Array("\(path):2:1: unknown key 'moed', did you mean 'mode'?".utf8))
    try Replacement.write(Array("mode: enforce\n".utf8), to: path, mode: 0o600)
    await watchdog.reload()
    #expect(await watchdog.status().mode == "enforce")
    #expect(watched.witness.events(.policyReloaded).count == 1)
    await watchdog.stop()
  }

  @Test("a queue that goes away is told of once, and watched again when it is back")
  func blindness() async throws {
    let watched = WatchedQmail()
    _ = try SimulatedQmail.create(at: watched.qmail)
    let watchdog = try watched.watchdog(.brisk)
    watchdog.start {}
    #expect(await watched.wait(20) { !watched.witness.events(.started).isEmpty })
    try #require(rename("\(watched.qmail)/queue", "\(watched.qmail)/away") == 0)
    #expect(await watched.wait(20) { !watched.witness.events(.queueUnreadable).isEmpty })
    #expect(await watchdog.status().line.contains("Cannot watch"))
    try await Task.sleep(for: .milliseconds(700))
    #expect(watched.witness.events(.queueUnreadable).count == 1)
    try #require(rename("\(watched.qmail)/away", "\(watched.qmail)/queue") == 0)
    #expect(await watched.wait(20) { !watched.witness.events(.queueReadable).isEmpty })
    #expect(await watchdog.status().trouble("queue") == nil)
    await watchdog.stop()
  }

  @Test("a second watchdog with the same state directory is refused")
  func twoAtOnce() throws {
    let watched = WatchedQmail()
    _ = try SimulatedQmail.create(at: watched.qmail)
    let first = try watched.watchdog(.unlogged)
    #expect(throws: Watchdog.AlreadyRunning.self) { try watched.watchdog(.unlogged) }
    withExtendedLifetime(first) {}
  }

  @Test("no queue is an error at the start, with the place in it")
  func noQueue() throws {
    let watched = WatchedQmail()
    let error = #expect(throws: QueueError.self) { try watched.watchdog(.unlogged) }
    #expect(error?.description.contains(watched.qmail) == true)
  }

  @Test("the status report comes back as it was written, and its line names counts and storms")
  func statusReport() throws {
    let watched = WatchedQmail()
    _ = try SimulatedQmail.create(at: watched.qmail)
    var report = try watched.watchdog(.unlogged).runOnce()
    report.storms = [
      StatusReport.OpenStorm(
        incident: 3, kind: "relay-sender", began: 1, messages: 40, reason: "\u{1B}[2J\"\n")
    ]
    try report.write(state: watched.state)
    #expect(try StatusReport.read(state: watched.state) == report)
    #expect(
      report.line
        == "observe: 0 messages, 0 unprocessed, 0 bouncing; qmail-send is not running; storm #3 relay-sender, 40 messages"
    )
  }

  @Test("a queue whose names are still being listed has at least so many messages")
  func partialStatus() throws {
    let watched = WatchedQmail()
    _ = try SimulatedQmail.create(at: watched.qmail)
    var report = try watched.watchdog(.unlogged).runOnce()
    #expect(report.queue.isPartial == nil)
    report.queue.isPartial = true
    report.queue.messages = 7
    #expect(report.line.hasPrefix("observe: at least 7 messages, 0 unprocessed"))
  }

  @Test("a stall that stands still is written into the ledger once a minute, and when it was left")
  func standingStall() async throws {
    let watched = WatchedQmail()
    _ = try SimulatedQmail.create(at: watched.qmail)
    var policy = Policy.brisk
    policy.detection.stallAfter = .seconds(1)
    let watchdog = try watched.watchdog(policy)
    watchdog.start {}
    let ledger = try watched.ledger()
    func seen() throws -> Timestamp? { try ledger.openIncidents().first?.lastSeen }
    #expect(try await watched.wait(20) { try seen() != nil })
    var times: Set<Timestamp> = []
    for _ in 0..<20 {
      if let time = try seen() { times.insert(time) }
      try await Task.sleep(for: .milliseconds(100))
    }
    // A minute may begin meanwhile.
    #expect(times.count <= 2)
    await watchdog.stop()
    let (first, last) = (try #require(times.min()), try #require(try seen()))
    #expect(last.seconds(since: first) > 1)
  }

  @Test("an event's JSON is one line whatever bytes an offender has")
  func hostileJSON() throws {
    let event = Event(
      .stormBegan, at: Timestamp(seconds: 1.5), .alert, "x",
      [
        JournalField(.incident, 7),
        JournalField(.offender, bytes: Array("a\nPRIORITY=0\u{1B}\"@b".utf8) + [0xFF, 0x00]),
        JournalField(.victim, "one"), JournalField(.victim, "two"),
      ])
    let text = event.json.text
    #expect(!text.contains("\n") && !text.contains("\u{1B}"))
    let object = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
    #expect(object?["incident"] as? Int == 7)
    #expect(object?["t"] as? Double == 1.5)
    #expect(object?["victim"] as? [String] == ["one", "two"])
    #expect((object?["offender"] as? String)?.hasPrefix("a\nPRIORITY=0\u{1B}\"@b") == true)
  }
}

/// Values collected from several threads.
final class Witnessed<Value: Sendable>: Sendable {
  private let kept = Mutex<[Value]>([])
  func add(_ value: Value) { kept.withLock { $0.append(value) } }
  var values: [Value] { kept.withLock { $0 } }
}
