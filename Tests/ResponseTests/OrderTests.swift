import Files
import Glibc
import Ledger
import Mail
import Policy
import QmailQueue
import QmailSimulator
import Testing

@testable import Response

/// An administrator's own orders.
@Suite struct OrderTests {
  private let alice = Address("alice@mx.test")
  private let keep = RemovalOrder(by: "root", reason: "spam", keepsCopy: true)
  private let delete = RemovalOrder(by: "root", reason: "", keepsCopy: false)

  private func kept(_ bench: Workbench) throws -> [String] {
    try Descriptor.open("\(bench.state)/quarantine", .directory).names()
  }

  @Test("an order holds in observe mode and for protected senders; others stay; it can be released")
  func setAside() throws {
    let bench = try Workbench()
    bench.policy.mode = .observe
    bench.policy.protect.senders = ["alice@mx.test"]
    let spam = try bench.message()
    let other = try bench.message(from: "carol@mx.test")
    let responder = try bench.responder()
    let (fates, failure) = responder.remove([(spam, alice)], by: keep, at: bench.now)
    #expect(failure == nil)
    #expect(fates == [spam: .removed(inDoubt: 0)])
    #expect(try bench.letters(spam) == "D")
    #expect(try bench.letters(other) == "T")
    let row = try #require(try responder.ledger.quarantine(of: spam))
    #expect(row.note == "by root: spam")
    #expect(row.incident == nil && row.state == .marked && !row.keepsNothing)
    #expect(try responder.ledger.actions().map(\.why) == ["by root: spam"])

    bench.pass(seconds: 3600)
    _ = responder.quarantineTick(at: bench.now)
    #expect(try bench.letters(spam) == nil)
    #expect(!bench.log.contains { $0.hasPrefix("bounce msg") || $0.hasPrefix("warning") })
    let gone = try #require(try responder.ledger.quarantine(of: spam))
    #expect(
      responder.release(gone, inDoubt: false, at: bench.now).compactMap(\.released).count == 1)
  }

  @Test(
    "released to another recipient, a message reaches that one alone, and nothing is owed any more")
  func otherRecipient() throws {
    let bench = try Workbench()
    let spam = try bench.message(to: ["bob@mx.test", "late@remote.example"])
    let responder = try bench.responder()
    _ = responder.remove([(spam, alice)], by: keep, at: bench.now)
    bench.pass(seconds: 3600)
    _ = responder.quarantineTick(at: bench.now)
    bench.obey { _ in .success }
    let record = try #require(try responder.ledger.quarantine(of: spam))
    let abuse = Address("abuse@desk.example")
    let outcomes = responder.release(record, inDoubt: false, to: [abuse], at: bench.now)
    #expect(outcomes.compactMap(\.released).map(\.state) == [.released])
    bench.pass(seconds: 10)
    #expect(bench.deliveries.map(\.attempt.recipient) == [abuse])
    #expect(try kept(bench) == [])
  }

  @Test("more messages than a batch are all taken, and a second order finds nothing to do")
  func many() throws {
    let bench = try Workbench()
    let spam = try (0..<150).map { try bench.message(to: ["r\($0)@remote.example"]) }
    let responder = try bench.responder()
    let messages = spam.map { (identity: $0, sender: alice) }
    let first = responder.remove(messages, by: keep, at: bench.now)
    #expect(first.fates.count == 150)
    #expect(first.fates.values.allSatisfy { $0 == .removed(inDoubt: 0) })
    let again = responder.remove(messages, by: keep, at: bench.now)
    #expect(again.fates.values.allSatisfy { $0 == .removed(inDoubt: 0) })
    #expect(try responder.ledger.quarantineCounts() == [.marked: 150])
  }

  @Test("deletion leaves no copy and no bounce, and needs no free space above the floor")
  func deletion() throws {
    let bench = try Workbench()
    bench.policy.quarantine.minimumFreeSpace = 1
    bench.obey { $0.recipient == Address("no@remote.example") ? .failure : .deferral }
    let spam = try bench.message(to: ["no@remote.example", "late@remote.example"])
    let responder = try bench.responder()
    let refused = responder.remove([(spam, alice)], by: keep, at: bench.now)
    #expect(refused.failure?.why.contains("minimum-free-space") == true)
    #expect(refused.failure?.exitCode == 74)
    #expect(try bench.letters(spam) == "DT")

    let (fates, failure) = responder.remove([(spam, alice)], by: delete, at: bench.now)
    #expect(failure == nil)
    #expect(fates == [spam: .removed(inDoubt: 0)])
    #expect(try bench.letters(spam) == "DD")
    #expect(try kept(bench) == [])
    let fresh = try bench.responder()
    #expect(fresh.recover(at: bench.now) == [])
    bench.pass(seconds: 3600)
    #expect(!fresh.quarantineTick(at: bench.now).someLeave)
    #expect(try bench.letters(spam) == nil)
    #expect(!bench.log.contains { $0.hasPrefix("bounce msg") || $0.hasPrefix("warning") })
    #expect(try fresh.ledger.quarantineCounts() == [.expired: 1])
    #expect(try fresh.ledger.actions().map(\.action) == ["delete"])
  }

  @Test("an order that failed is taken back: no daemon carries it out when the trouble is over")
  func failedOrder() throws {
    let bench = try Workbench()
    let spam = try (0..<200).map { try bench.message(to: ["r\($0)@remote.example"]) }
    let responder = try bench.responder()
    // What fails now fails after the order was written down.
    _ = responder.remove([(try bench.message(), alice)], by: keep, at: bench.now)
    let store = try Descriptor.open("\(bench.state)/quarantine", .directory)
    try store.setPermissions(0o755)
    let messages = spam.map { (identity: $0, sender: alice) }
    let (fates, failure) = responder.remove(messages, by: delete, at: bench.now)
    #expect(failure?.why.contains("chmod 700") == true)
    #expect(fates == [:])
    try store.setPermissions(0o700)
    let daemon = try bench.responder()
    _ = daemon.recover(at: bench.now)
    bench.settle(daemon)
    #expect(try spam.allSatisfy { try bench.letters($0) == "T" })
    #expect(try daemon.ledger.waitingCount() == 0)
  }

  @Test("a bounce that a delivery under way leaves after a deletion is swept, and not kept")
  func lateBounce() throws {
    let bench = try Workbench()
    let spam = try bench.message()
    let responder = try bench.responder()
    _ = responder.remove([(spam, alice)], by: delete, at: bench.now)
    let bounce = try QueueLayout.read(qmail: bench.qmail).path(.bounce, spam.id)
    try bench.write("<bob@remote.example>:\nno\n\n", to: bounce)
    _ = responder.quarantineTick(at: bench.now)
    #expect((try? FileStatus.of(bounce)) == nil)
    bench.pass(seconds: 3600)
    _ = responder.quarantineTick(at: bench.now)
    #expect(try kept(bench) == [])
    #expect(!bench.log.contains { $0.hasPrefix("bounce msg") })
  }

  @Test(
    "killed anywhere while deleting: the next start finishes it, and nothing is kept",
    arguments: [
      Step.copied, .copiesRecorded, .marked, .deliveriesNoted, .marksRecorded, .expiryIntended,
      .copyDeleted,
    ])
  func killed(step: Step) throws {
    let bench = try Workbench()
    let spam = try (0..<2).map { try bench.message(to: ["r\($0)@remote.example"]) }
    let other = try bench.message(from: "carol@mx.test")
    var responder = try bench.responder()
    responder.stopAfter = { $0 == step }
    _ = responder.remove(spam.map { ($0, alice) }, by: delete, at: bench.now)
    responder = try bench.responder()
    _ = responder.recover(at: bench.now)
    bench.settle(responder)
    #expect(try spam.map { try bench.letters($0) } == ["D", "D"])
    bench.pass(seconds: 3600)
    _ = responder.quarantineTick(at: bench.now)
    _ = responder.expireQuarantine(at: bench.now)
    #expect(try spam.map { try bench.letters($0) } == [nil, nil])
    #expect(try kept(bench) == [])
    #expect(try responder.ledger.quarantineCounts() == [.expired: 2])
    #expect(try bench.letters(other) == "T")
  }

  @Test("gone meanwhile, and its number reused: the newcomer is untouched")
  func reused() throws {
    let bench = try Workbench()
    let stranger = try bench.message(from: "carol@mx.test")
    let sameBirth = try bench.message(from: "dave@mx.test")
    let ghost = EntryIdentity(id: 4, birth: bench.start)
    let earlier = EntryIdentity(id: stranger.id, birth: stranger.birth - .seconds(5))
    let responder = try bench.responder()
    let (fates, failure) = responder.remove(
      [(ghost, alice), (earlier, alice), (sameBirth, alice)], by: delete, at: bench.now)
    #expect(failure == nil)
    #expect(fates[ghost] == .gone)
    #expect(fates[earlier] == .gone)
    // Born in the same tick of the clock, and still another's message.
    #expect(fates[sameBirth] != .removed(inDoubt: 0))
    #expect(try bench.letters(stranger) == "T")
    #expect(try bench.letters(sameBirth) == "T")
    #expect(try responder.ledger.quarantineCounts().isEmpty)
  }

  @Test("what qmail is delivering waits: the order is carried out later, or taken back")
  func delivering() throws {
    let bench = try Workbench()
    let spam = try bench.message()
    try bench.beginDelivery(from: "alice@mx.test", to: "bob@remote.example")
    let responder = try bench.responder()
    #expect(
      responder.remove([(spam, alice)], by: keep, at: bench.now).fates == [spam: .beingDelivered])
    #expect(responder.withdraw([spam], at: bench.now) == nil)
    #expect(try responder.ledger.quarantineCounts().isEmpty)

    _ = responder.remove([(spam, alice)], by: keep, at: bench.now)
    bench.endDelivery()
    #expect(bench.settle(try bench.responder()).compactMap(\.quarantined).count == 1)
    #expect(
      responder.remove([(spam, alice)], by: keep, at: bench.now).fates == [
        spam: .removed(inDoubt: 0)
      ])
  }

  @Test("a message in todo is known again when qmail-send has taken it in, and no other for it")
  func unprocessed() throws {
    let bench = try Workbench()
    let layout = try QueueLayout.read(qmail: bench.qmail)
    func inject(_ sender: String) throws -> EntryIdentity {
      let id = try bench.sim.inject(
        SimulatedInjection(
          sender: Address(sender), recipients: [Address("bob@remote.example")],
          source: .network(client: "198.18.0.9", helo: "x", user: "alice"),
          message: Array("Subject: spam\n\nhello\n".utf8)), at: bench.now)
      return EntryIdentity(id: id, birth: try FileStatus.of(layout.path(.todo, id)).modified)
    }
    let identity = try inject("alice@mx.test")
    #expect(UnprocessedMessage(identity, sender: Address("x@y"), in: layout) == nil)
    let waiting = try #require(UnprocessedMessage(identity, sender: alice, in: layout))
    #expect(waiting.state(in: layout) == .waiting)
    bench.pass(seconds: 1)
    guard case .takenIn(let taken) = waiting.state(in: layout) else {
      Issue.record("not taken in")
      return
    }
    #expect(UnprocessedMessage(taken, sender: alice, in: layout) == nil)
    let responder = try bench.responder()
    #expect(
      responder.remove([(taken, alice)], by: keep, at: bench.now).fates == [
        taken: .removed(inDoubt: 0)
      ])

    // The same number, written anew.
    let later = timespec(tv_sec: 2_000_000_000, tv_nsec: 0)
    try #require(utimensat(AT_FDCWD, layout.path(.mess, taken.id), [later, later], 0) == 0)
    #expect(waiting.state(in: layout) == .gone)
  }

  @Test("while another process keeps the hands busy nothing is touched")
  func busy() throws {
    let bench = try Workbench()
    let spam = try bench.message()
    let responder = try bench.responder()
    responder.patience = .milliseconds(20)
    let lock = try FileLock.take("\(bench.state)/lock")
    let (fates, failure) = responder.remove([(spam, alice)], by: keep, at: bench.now)
    #expect(fates.isEmpty && failure?.exitCode == 75)
    #expect(try bench.letters(spam) == "T")
    _ = consume lock
  }
}
