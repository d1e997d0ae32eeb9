import Files
import Glibc
import Ledger
import Mail
import Policy
import QmailQueue
import QmailSimulator
import Synchronization
import Testing

@testable import Response

/// A process that is stopped dead between two lasting changes, and the next one that finds what it left.
@Suite struct KillTests {
  /// What must hold at every moment: each message is whole in the queue, or its copy is complete.
  private func checkEachIsSomewhere(
    _ messages: [EntryIdentity: [UInt8]], _ bench: Workbench, _ place: String
  ) throws {
    let store = try? QuarantineStore(path: "\(bench.state)/quarantine", creating: false)
    for (identity, original) in messages {
      // One recipient of each had failed before: two more letters are ours to change.
      if try bench.letters(identity)?.count(where: { $0 == "T" }) == 2 { continue }
      let kept = try #require(store, "\(place): no copy of a marked message")
      #expect(try kept.read(identity).recipients.count == 2)
      #expect(try kept.message(identity).read(limit: 1 << 20) == original, "\(place)")
    }
  }

  private static let retirementSteps: [Step] = [
    .quarantineIntended, .copied, .copiesFlushed, .copiesRecorded, .bounceAside, .bouncesFlushed,
    .marked, .deliveriesNoted, .marksRecorded,
  ]

  @Test(
    "killed anywhere while setting messages aside: nothing lost, nothing half done, nobody else touched",
    arguments: retirementSteps, [1, 3])
  func retirement(step: Step, occurrence: Int) throws {
    let bench = try Workbench()
    bench.obey { $0.recipient == Address("no@remote.example") ? .failure : .deferral }
    var messages: [EntryIdentity: [UInt8]] = [:]
    let layout = try QueueLayout.read(qmail: bench.qmail)
    for number in 0..<4 {
      // A failed recipient too: each has a bounce waiting that must never be sent.
      let identity = try bench.message(
        to: ["a\(number)@remote.example", "b@mx.test", "no@remote.example"],
        body: String(repeating: "x", count: number * 5000))
      messages[identity] = try bench.bytes(layout.path(.mess, identity.id))
      #expect(try bench.letters(identity)?.count { $0 == "T" } == 2)
    }
    let other = try bench.message(from: "carol@mx.test")
    let before = bench.deliveries.count

    let seen = Atomic<Int>(0)
    var responder = try bench.responder()
    responder.stopAfter = { passed in
      passed == step && seen.add(1, ordering: .relaxed).newValue == occurrence
    }
    _ = bench.quarantine(messages.keys.sorted(), with: responder)
    let place = "\(step) \(occurrence)"
    try checkEachIsSomewhere(messages, bench, place)

    responder = try bench.responder()
    _ = responder.recover(at: bench.now)
    _ = bench.settle(responder)
    let counts = try responder.ledger.quarantineCounts()
    #expect(counts == [.marked: 4], "\(place)")
    bench.pass(seconds: 3600)
    let progress = responder.quarantineTick(at: bench.now)
    #expect(progress.outcomes.compactMap(\.gone).count == 4, "\(place)")
    #expect(try responder.ledger.quarantineCounts() == [.gone: 4], "\(place)")
    #expect(bench.deliveries.count == before, "\(place)")
    #expect(!bench.log.contains { $0.hasPrefix("bounce") || $0.hasPrefix("warning") }, "\(place)")
    #expect(try bench.letters(other) == "T", "\(place)")
    try checkEachIsSomewhere(messages, bench, place)
    let kept = try QuarantineStore(path: "\(bench.state)/quarantine", creating: false)
    #expect(try kept.contents().messages == messages.keys.sorted(), "\(place)")
    #expect(try kept.contents().partial == [], "\(place)")
    for identity in messages.keys {
      #expect(try kept.bounce(identity)?.starts(with: "<no@remote.example>".utf8) == true)
    }
    #expect(
      try Descriptor.open("\(layout.queue)/bounce", .directory).names() == [], "\(place)")
  }

  @Test(
    "killed while marking, and the entry is gone before the next start: what we marked stays ours")
  func goneMeanwhile() throws {
    let bench = try Workbench()
    let spam = try bench.message()
    var responder = try bench.responder()
    responder.stopAfter = { $0 == .marked }
    _ = bench.quarantine([spam], with: responder)
    bench.pass(seconds: 3600)
    #expect(try bench.letters(spam) == nil)
    responder = try bench.responder()
    _ = responder.recover(at: bench.now)
    _ = bench.settle(responder)
    _ = responder.quarantineTick(at: bench.now)
    #expect(try responder.ledger.quarantineCounts() == [.gone: 1])
  }

  @Test("killed before the first mark, and qmail delivers it: the copy is dropped, not given back")
  func deliveredMeanwhile() throws {
    let bench = try Workbench()
    let spam = try bench.message()
    var responder = try bench.responder()
    responder.stopAfter = { $0 == .copiesRecorded }
    _ = bench.quarantine([spam], with: responder)
    bench.obey { _ in .success }
    bench.pass(seconds: 3600)
    #expect(bench.deliveries.count == 1)
    responder = try bench.responder()
    let outcomes = responder.recover(at: bench.now)
    #expect((outcomes + bench.settle(responder)).compactMap(\.abandoned).count == 1)
    #expect(try responder.ledger.quarantineCounts() == [.abandoned: 1])
    let store = try QuarantineStore(path: "\(bench.state)/quarantine", creating: false)
    #expect(try store.contents().messages == [])
  }

  @Test("releases that were cut off together are looked for together, each found or left in doubt")
  func manyCutOff() throws {
    let bench = try Workbench()
    let spam = try (0..<12).map { _ in try bench.message() }
    var responder = try bench.responder()
    _ = bench.quarantine(spam, with: responder)
    bench.pass(seconds: 3600)
    _ = responder.quarantineTick(at: bench.now)
    let rows = try responder.ledger.quarantine([.gone])
    #expect(rows.count == 12)
    responder.stopAfter = { $0 == .releaseCommitted }
    _ = responder.release(rows, inDoubt: false, at: WallClock.now())
    // Of half of them nothing is to be seen any more.
    let layout = try QueueLayout.read(qmail: bench.qmail)
    let pids = try responder.ledger.quarantine([.releasing]).compactMap(\.release?.pid)
    #expect(pids.count == 12)
    var lost = 0
    for id in try QueueIDs.all(layout) {
      guard case .entry(let entry) = EntryReader(layout: layout).read(id), case .uid = entry.source,
        lost < 6
      else { continue }
      lost += 1
      for kind in [QueueFile.todo, .intd, .mess] { unlink(layout.path(kind, id)) }
    }
    responder = try bench.responder()
    var outcomes = responder.recover(at: bench.now)
    for _ in 0..<100 where try !responder.ledger.quarantine([.releasing]).isEmpty {
      outcomes += responder.quarantineTick(at: bench.now).outcomes
      usleep(10_000)
    }
    #expect(outcomes.compactMap(\.released).count == 6)
    let states = try responder.ledger.quarantineCounts()
    #expect(states == [.released: 6, .releaseInDoubt: 6], "\(states)")
  }

  @Test(
    "a release that was cut off is not found in another program's mail whose qmail-queue has its pid"
  )
  func otherMailOfThePid() throws {
    let bench = try Workbench()
    let spam = try bench.message()
    var responder = try bench.responder()
    let record = try #require(
      bench.quarantine([spam], with: responder).compactMap(\.quarantined).first)
    responder.stopAfter = { $0 == .releaseIntended }
    _ = responder.release(record, inDoubt: false, at: bench.now)
    let pid = try #require(
      try responder.ledger.quarantine(number: record.id)?.release?.pid)
    let layout = try QueueLayout.read(qmail: bench.qmail)
    let other = "\(layout.queue)/pid/other"
    try bench.write(
      "Received: (qmail \(pid) invoked by uid 33); 1 Jan 2026 00:00:00 -0000\nSubject: news\n\nhi\n",
      to: other)
    let id = try FileStatus.of(other).inode
    try #require(rename(other, layout.path(.mess, id)) == 0)
    try bench.write("u33\0p\(pid)\0Fweb@mx.test\0Tann@remote.example\0", to: layout.path(.todo, id))
    responder = try bench.responder()
    var outcomes = responder.recover(at: bench.now)
    for _ in 0..<100 where try !responder.ledger.quarantine([.releasing]).isEmpty {
      outcomes += responder.quarantineTick(at: bench.now).outcomes
      usleep(10_000)
    }
    #expect(outcomes.compactMap(\.released).isEmpty)
    #expect(try responder.ledger.quarantineCounts() == [.releaseInDoubt: 1])
  }

  @Test(
    "killed before the first mark, and the number is another's who is in todo: nothing is said until that is taken in"
  )
  func numberInTodo() throws {
    let bench = try Workbench()
    let spam = try bench.message()
    var responder = try bench.responder()
    responder.stopAfter = { $0 == .copiesRecorded }
    _ = bench.quarantine([spam], with: responder)
    let todo = try QueueLayout.read(qmail: bench.qmail).path(.todo, spam.id)
    _ = try Descriptor.open(todo, [.write, .create])
    responder = try bench.responder()
    let outcomes =
      responder.recover(at: bench.now) + responder.quarantineTick(at: bench.now).outcomes
    #expect(outcomes.compactMap(\.failure).isEmpty)
    unlink(todo)
    #expect(bench.settle(responder).compactMap(\.quarantined).count == 1)
  }

  private static let releaseSteps: [Step] = [
    .releaseStarted, .releaseIntended, .releaseCommitted, .releaseNoted, .releaseRecorded,
  ]

  @Test(
    "killed anywhere in a release: given back once or still here, and the ledger knows which",
    arguments: releaseSteps, [false, true])
  func release(step: Step, gone: Bool) throws {
    let bench = try Workbench()
    let spam = try bench.message()
    var responder = try bench.responder()
    let record = try #require(
      bench.quarantine([spam], with: responder).compactMap(\.quarantined).first)
    if gone {
      bench.pass(seconds: 3600)
      _ = responder.quarantineTick(at: bench.now)
    }
    responder.stopAfter = { $0 == step }
    _ = responder.release(record, inDoubt: false, at: bench.now)
    responder = try bench.responder()
    var outcomes = responder.recover(at: bench.now)
    // A qmail-queue that lost its master may take a moment to end.
    for _ in 0..<100 {
      let progress = responder.quarantineTick(at: bench.now)
      outcomes += progress.outcomes
      if progress.waiting == 0 { break }
      usleep(10_000)
    }
    let layout = try QueueLayout.read(qmail: bench.qmail)
    let queued = try QueueIDs.all(layout).count { id in
      if case .entry(let entry) = EntryReader(layout: layout).read(id), case .uid = entry.source {
        true
      } else {
        false
      }
    }
    let place = "\(step), gone: \(gone)"
    let after = try #require(try responder.ledger.quarantine(number: record.id))
    switch step {
    case .releaseStarted:
      #expect(queued == 0, "\(place)")
      #expect(after.state == (gone ? .gone : .marked), "\(place)")
      // It can be released as if nothing had been.
      #expect(
        responder.release(after, inDoubt: false, at: bench.now).compactMap(\.released).count == 1)
    case .releaseIntended:
      // The last byte was not sent, but nothing on disk can prove it: an administrator decides.
      #expect(queued == 0, "\(place)")
      #expect(after.state == .releaseInDoubt, "\(place)")
      #expect(after.note?.contains("qp ") == true)
      let refused = responder.release(after, inDoubt: false, at: bench.now)
      #expect(refused.compactMap(\.failure).first?.why.contains("--in-doubt") == true)
      // A second attempt that comes to nothing makes the first no more certain.
      try bench.write("", to: "\(bench.path)/full")
      #expect(responder.release(after, inDoubt: true, at: bench.now).compactMap(\.released) == [])
      unlink("\(bench.path)/full")
      let still = try #require(try responder.ledger.quarantine(number: record.id))
      #expect(still.state == .releaseInDoubt && still.note == after.note, "\(place)")
      #expect(
        responder.release(still, inDoubt: true, at: bench.now).compactMap(\.released).count == 1)
    default:
      #expect(queued == 1, "\(place)")
      #expect(after.state == .released, "\(place)")
      if step != .releaseRecorded {
        #expect(outcomes.compactMap(\.released).count == 1, "\(place)")
      }
    }
    bench.pass(seconds: 3600)
    _ = responder.quarantineTick(at: bench.now)
    _ = responder.recover(at: bench.now)
    let store = try QuarantineStore(path: "\(bench.state)/quarantine", creating: false)
    #expect(try store.contents().messages == [], "\(place)")
    #expect(try !responder.ledger.hasDeparting())
  }

  @Test("a qmail-queue that refuses or dies: the message stays, or is found in the queue")
  func refusedRelease() throws {
    let bench = try Workbench()
    let spam = try bench.message()
    let responder = try bench.responder()
    let record = try #require(
      bench.quarantine([spam], with: responder).compactMap(\.quarantined).first)
    try bench.write("", to: "\(bench.path)/full")
    let refused = responder.release(record, inDoubt: false, at: bench.now)
    #expect(refused.compactMap(\.failure).first?.why.contains("disk") == true)
    #expect(refused.compactMap(\.failure).first?.exitCode == 75)
    #expect(try responder.ledger.quarantine(number: record.id)?.state == .marked)
    try Descriptor.open(bench.path, .directory).unlink("full")
    // Killed after it had queued the message: found by its pid.
    try bench.write("", to: "\(bench.path)/deaf")
    let killed = responder.release(record, inDoubt: false, at: bench.now)
    #expect(killed.compactMap(\.released).count == 1)
    #expect(try responder.ledger.quarantine(number: record.id)?.state == .released)
  }

  @Test(
    "killed while copies expire: the next start ends it",
    arguments: [Step.expiryIntended, .copyDeleted])
  func expiry(step: Step) throws {
    let bench = try Workbench()
    let spam = [try bench.message(), try bench.message()]
    var responder = try bench.responder()
    _ = bench.quarantine(spam, with: responder)
    bench.pass(seconds: 3600)
    _ = responder.quarantineTick(at: bench.now)
    responder.stopAfter = { $0 == step }
    let late = bench.now + bench.policy.quarantine.keep
    _ = responder.expireQuarantine(at: late)
    responder = try bench.responder()
    _ = responder.recover(at: late)
    #expect(try responder.ledger.quarantineCounts() == [.expired: 2])
    let store = try QuarantineStore(path: "\(bench.state)/quarantine", creating: false)
    #expect(try store.contents().messages == [])
  }
}
