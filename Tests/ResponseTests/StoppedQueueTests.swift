import Dispatch
import Files
import Glibc
import Ledger
import Mail
import QmailQueue
import QmailSimulator
import Testing

@testable import Response

/// Orders while qmail-send is stopped.
@Suite struct StoppedQueueTests {
  private let alice = Address("alice@mx.test")
  private let keep = RemovalOrder(by: "root", reason: "", keepsCopy: true)
  private let delete = RemovalOrder(by: "root", reason: "", keepsCopy: false)

  /// A bench with qmail-send stopped, a message that it has taken in, one in todo, and one of each from somebody else.
  private struct Stopped {
    let bench: Workbench
    let taken: EntryIdentity
    let new: UnprocessedMessage
    let others: [UInt64]
    let layout: QueueLayout

    init() throws {
      bench = try Workbench()
      bench.obey { $0.recipient == Address("no@remote.example") ? .failure : .deferral }
      layout = try QueueLayout.read(qmail: bench.qmail)
      taken = try bench.message(to: ["late@remote.example", "no@remote.example"])
      let other = try bench.message(from: "carol@mx.test")
      bench.sim.kill()
      new = try bench.unprocessed(from: "alice@mx.test")
      others = [other.id, try bench.unprocessed(from: "carol@mx.test").identity.id]
    }

    /// All files of a message, by kind.
    func files(_ id: UInt64) -> Set<QueueFile> {
      Set(QueueFile.allCases.filter { (try? FileStatus.of(layout.path($0, id))) != nil })
    }

    func copies() throws -> QuarantineStore.Contents {
      try QuarantineStore(path: "\(bench.state)/quarantine", creating: false).contents()
    }
  }

  @Test(
    "messages leave a stopped queue at once, those in todo too, and come back with their envelopes")
  func setAside() throws {
    let stopped = try Stopped()
    let (bench, layout) = (stopped.bench, stopped.layout)
    let responder = try bench.responder()
    let first = responder.remove([(stopped.taken, alice)], by: keep, at: bench.now)
    let second = responder.removeUnprocessed([stopped.new], by: keep, at: bench.now)
    #expect(first.failure == nil && second.failure == nil)
    #expect(first.fates == [stopped.taken: .removed(inDoubt: 0)])
    #expect(second.fates == [stopped.new.identity: .removed(inDoubt: 0)])
    #expect(stopped.files(stopped.taken.id) == [] && stopped.files(stopped.new.identity.id) == [])
    #expect(stopped.others.map { stopped.files($0).contains(.mess) } == [true, true])
    #expect(try Descriptor.open("\(layout.queue)/bounce", .directory).names() == [])
    #expect(try responder.ledger.quarantineCounts() == [.gone: 2])
    #expect(QmailSend.isRunning(layout) == false)

    try bench.sim.start(at: bench.now)
    bench.obey { _ in .success }
    bench.pass(seconds: 3600)
    #expect(!bench.log.contains { $0.hasPrefix("bounce msg") || $0.hasPrefix("warning") })
    #expect(bench.deliveries.allSatisfy { $0.attempt.sender != alice })
    for record in try responder.ledger.quarantine([.gone]) {
      #expect(
        responder.release(record, inDoubt: false, at: bench.now).compactMap(\.released).count == 1)
    }
    let before = bench.deliveries.count
    bench.pass(seconds: 10)
    #expect(
      Set(bench.deliveries[before...].map(\.attempt.recipient.description))
        == ["late@remote.example", "bob@remote.example", "carol@mx.test"])
    #expect(bench.deliveries.count == before + 3)
  }

  @Test("a daemon that starts while a command sets messages aside leaves their copies alone")
  func startMeanwhile() throws {
    let bench = try Workbench()
    var messages: [Responder.Chosen] = []
    // Two lots. The daemon has the hands between them, for badmailfrom, and then waits for the end of the second.
    for _ in 0..<200 { messages.append((try bench.message(), alice)) }
    bench.sim.kill()
    nonisolated(unsafe) let daemon = try bench.responder()
    let command = try bench.responder()
    let (now, state) = (bench.now, bench.state)
    let hasBegun = DispatchSemaphore(value: 0)
    command.stopAfter = { step in
      guard step == .quarantineIntended else { return false }
      hasBegun.signal()
      for _ in 0..<1000 where !Self.isHeld("\(state)/lock.turn") { usleep(1000) }
      return false
    }
    let end = DispatchGroup()
    DispatchQueue(label: "daemon").async(group: end) {
      hasBegun.wait()
      _ = daemon.recover(at: now)
    }
    let (_, failure) = command.remove(messages, by: keep, at: now)
    end.wait()
    #expect(failure == nil && daemon.isRecovered)
    #expect(try command.ledger.quarantineCounts() == [.gone: 200])
    let copies = try QuarantineStore(path: "\(state)/quarantine", creating: false).contents()
    #expect(copies.messages.count == 200)
  }

  private static func isHeld(_ path: String) -> Bool {
    do {
      switch try FileLock.take(path) {
      case .some: return false
      case .none: return true
      }
    } catch { return true }
  }

  @Test("deleted from a stopped queue, nothing of a message stays anywhere")
  func deletion() throws {
    let stopped = try Stopped()
    let bench = stopped.bench
    let responder = try bench.responder()
    _ = responder.remove([(stopped.taken, alice)], by: delete, at: bench.now)
    _ = responder.removeUnprocessed([stopped.new], by: delete, at: bench.now)
    #expect(stopped.files(stopped.taken.id) == [] && stopped.files(stopped.new.identity.id) == [])
    let left = try stopped.copies()
    #expect(left.messages == [] && left.partial == [])
    #expect(try responder.ledger.quarantineCounts() == [.expired: 2])
    #expect(try !responder.ledger.hasDeparting())
  }

  @Test("while qmail-send runs, what is in todo is left alone, and its lock is not to be had")
  func running() throws {
    let stopped = try Stopped()
    let bench = stopped.bench
    try bench.sim.start(at: bench.now)
    let held = try QmailSend.holdOff(stopped.layout) != nil
    #expect(!held)
    let (fates, failure) = try bench.responder()
      .removeUnprocessed([stopped.new], by: keep, at: bench.now)
    #expect(fates.isEmpty && failure == nil)
    #expect(stopped.files(stopped.new.identity.id).contains(.todo))
  }

  @Test("a message that came under the number of one chosen in todo is untouched")
  func reused() throws {
    let stopped = try Stopped()
    let bench = stopped.bench
    let id = stopped.new.identity.id
    let later = timespec(tv_sec: Int(bench.now.seconds) + 9, tv_nsec: 5)
    utimensat(AT_FDCWD, stopped.layout.path(.todo, id), [later, later], 0)
    let (fates, _) = try bench.responder()
      .removeUnprocessed([stopped.new], by: delete, at: bench.now)
    #expect(fates == [stopped.new.identity: .gone])
    #expect(stopped.files(id).isSuperset(of: [.todo, .mess]))
  }

  @Test(
    "killed anywhere on a stopped queue: each message is whole in the queue or whole in quarantine, never in both",
    arguments: [
      Step.quarantineIntended, .copied, .copiesFlushed, .copiesRecorded, .removedForQmail, .marked,
      .marksRecorded, .goneRecorded,
    ])
  func killed(step: Step) throws {
    let stopped = try Stopped()
    let (bench, layout) = (stopped.bench, stopped.layout)
    for isNew in [false, true] {
      let responder = try bench.responder()
      responder.stopAfter = { $0 == step }
      if isNew {
        _ = responder.removeUnprocessed([stopped.new], by: keep, at: bench.now)
      } else {
        _ = responder.remove([(stopped.taken, alice)], by: keep, at: bench.now)
      }
      #expect(QmailSend.isRunning(layout) == false)
    }
    let responder = try bench.responder()
    _ = responder.recover(at: bench.now)
    // qmail-send delivers whatever is in the queue still.
    bench.obey { _ in .success }
    try bench.sim.start(at: bench.now)
    bench.settle(responder)
    bench.pass(seconds: 60_000)
    bench.settle(responder)
    _ = responder.quarantineTick(at: bench.now)
    #expect(!bench.log.contains { $0.hasPrefix("warning") }, "\(step)")
    for (recipient, identity) in [
      ("late@remote.example", stopped.taken), ("bob@remote.example", stopped.new.identity),
    ] {
      let delivered = bench.deliveries.count {
        $0.attempt.recipient == Address(recipient) && $0.attempt.sender == alice
      }
      let isKept = try stopped.copies().messages.contains(identity)
      #expect(delivered + (isKept ? 1 : 0) == 1, "\(step) \(recipient)")
      if isKept {
        #expect(
          try responder.ledger.quarantine(of: identity)?.state == .gone,
          "\(step) \(recipient) \(stopped.files(identity.id))")
      }
    }
    #expect(try stopped.copies().partial == [], "\(step)")
    #expect(try responder.ledger.waitingCount() == 0, "\(step)")
  }
}
