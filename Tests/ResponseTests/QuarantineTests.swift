import Files
import Glibc
import Ledger
import Mail
import Policy
import QmailQueue
import QmailSimulator
import Storms
import Synchronization
import Testing

@testable import Response

@Suite struct QuarantineTests {
  @Test(
    "a message's way: copied, marked, gone without a bounce, released byte for byte to those still pending"
  )
  func life() throws {
    let bench = try Workbench()
    bench.obey { $0.recipient == Address("done@remote.example") ? .success : .deferral }
    let spam = try bench.message(to: [
      "bob@mx.test", "done@remote.example", "late@remote.example",
    ])
    let other = try bench.message(from: "carol@mx.test")
    #expect(try bench.letters(spam) == "TDT")
    let original = try bench.bytes(
      try QueueLayout.read(qmail: bench.qmail).path(.mess, spam.id))

    let responder = try bench.responder()
    let outcomes = bench.quarantine([spam], with: responder)
    let record = try #require(outcomes.compactMap(\.quarantined).first)
    #expect(record.facts.recipients == 2)
    #expect(record.facts.subject == Array("spam".utf8))
    #expect(record.facts.source.client == "198.18.0.9")
    #expect(try bench.letters(spam) == "DDD")
    #expect(try bench.letters(other) == "T")
    #expect(try responder.ledger.hasDeparting())

    bench.pass(seconds: 3600)
    let later = responder.quarantineTick(at: bench.now)
    #expect(later.outcomes.compactMap(\.gone).map(\.identity) == [spam])
    #expect(!later.someLeave)
    #expect(bench.log.contains("end msg \(spam.id)"))
    #expect(!bench.log.contains { $0.hasPrefix("warning") || $0.hasPrefix("bounce") })
    #expect(bench.deliveries.map(\.attempt.recipient) == [Address("done@remote.example")])

    bench.obey { _ in .success }
    let gone = try #require(try responder.ledger.quarantine(number: record.id))
    #expect(gone.state == .gone)
    let released = responder.release(gone, inDoubt: false, at: bench.now)
    #expect(released.compactMap(\.released).first?.released == 2)
    bench.pass(seconds: 10)
    let given = bench.deliveries.filter { $0.attempt.sender == Address("alice@mx.test") }
      .dropFirst()
    #expect(
      Set(given.map(\.attempt.recipient)) == [
        Address("bob@mx.test"), Address("late@remote.example"),
      ])
    for delivery in given {
      let end = try #require(delivery.message.firstIndex(of: 10))
      #expect(Array(delivery.message[(end + 1)...]) == original)
    }
    #expect(try responder.ledger.quarantine(number: record.id)?.state == .released)
    #expect(
      try QuarantineStore(path: "\(bench.state)/quarantine", creating: false).contents().messages
        == [])
    let again = responder.release(gone, inDoubt: false, at: bench.now)
    #expect(again.compactMap(\.failure).first?.why.contains("released already") == true)
  }

  @Test(
    "messages given back together reach each its own recipients, and one that cannot go stops no other"
  )
  func releaseTogether() throws {
    let bench = try Workbench()
    let spam = try (0..<12).map { try bench.message(to: ["r\($0)@remote.example"]) }
    let responder = try bench.responder()
    let records = bench.quarantine(spam, with: responder).compactMap(\.quarantined)
    #expect(records.count == 12)
    #expect(
      responder.release(records[4], inDoubt: false, at: bench.now).compactMap(\.released).count == 1
    )
    let outcomes = responder.release(records, inDoubt: false, at: bench.now)
    #expect(outcomes.compactMap(\.released).count == 11)
    #expect(outcomes.compactMap(\.failure).map(\.value) == ["\(records[4].identity.id)"])
    bench.obey { _ in .success }
    bench.pass(seconds: 10)
    let reached = bench.deliveries.filter { $0.attempt.sender == Address("alice@mx.test") }.suffix(
      12)
    #expect(
      Set(reached.map(\.attempt.recipient))
        == Set((0..<12).map { Address("r\($0)@remote.example") }))
    #expect(try responder.ledger.quarantineCounts() == [.released: 12])
  }

  @Test(
    "A poll with nothing to do is at rest until another process writes the ledger, badmailfrom changes, a block runs out or a minute passes"
  )
  func rest() throws {
    let bench = try Workbench()
    let responder = try bench.responder()
    func poll(after seconds: Double) -> Bool {
      bench.now = bench.now + .seconds(seconds)
      return responder.tendAll(at: bench.now) == nil
    }
    // Made right once, then seen to be right.
    while !poll(after: 1) {}
    #expect(poll(after: 30))
    #expect(!poll(after: 40))
    #expect(poll(after: 1))

    let spam = try bench.message()
    #expect(poll(after: 1))
    let command = try Ledger("\(bench.state)/ledger.sqlite")
    try command.intendQuarantine(
      of: [spam], incident: 1, expires: bench.now + .seconds(3600), at: bench.now)
    bench.now = bench.now + .seconds(1)
    let progress = try #require(responder.tendAll(at: bench.now))
    #expect(progress.outcomes.compactMap(\.quarantined).map(\.identity) == [spam])
    bench.pass(seconds: 3600)
    while !poll(after: 1) {}

    _ = try bench.responder().block(
      Address("x@bad.example"), lasting: .seconds(20), reason: "", by: "root", at: bench.now)
    #expect(!poll(after: 1))
    while !poll(after: 1) {}
    #expect(!poll(after: 20))
    #expect(try responder.ledger.standingBlocks().isEmpty)
    while !poll(after: 1) {}
    let file = try Descriptor.open(bench.badmailfrom, [.write, .create, .append])
    try file.write(Array("y@bad.example\n".utf8), at: 0)
    #expect(!poll(after: 1))
  }

  @Test("a start looks for the copy of each of very many messages, page by page")
  func manyAtTheStart() throws {
    let bench = try Workbench()
    let responder = try bench.responder()
    let spam = try bench.message()
    _ = bench.quarantine([spam], with: responder)
    let lost = (1...2100).map { EntryIdentity(id: $0, birth: bench.now) }
    let ledger = responder.ledger
    try ledger.intendQuarantine(
      of: lost, incident: 1, expires: bench.now + .seconds(100), at: bench.now)
    var rows = try ledger.quarantine([.intended])
    try ledger.recordCopied(rows, at: bench.now)
    for place in rows.indices { rows[place].state = .copied }
    try ledger.recordMarked(rows, at: bench.now)
    let failures = try bench.responder().recover(at: bench.now).compactMap(\.failure)
    #expect(Set(failures.map(\.value)) == Set(lost.map { "\($0.id)" }))
    #expect(failures.allSatisfy { $0.action == "find" })
  }

  @Test("of many that depart those are watched to which something happened, few of the others")
  func manyDepart() throws {
    let bench = try Workbench()
    let spam = try (0..<300).map { _ in try bench.message() }
    let responder = try bench.responder()
    let records = bench.quarantine(spam, with: responder).compactMap(\.quarantined)
    #expect(records.count == 300)
    func gone() -> Int {
      responder.quarantineTick(at: bench.now).outcomes.compactMap(\.gone).count
    }
    // The first round is over all, for what happened while nobody watched.
    #expect(gone() == 0)
    bench.pass(seconds: 7200)
    let inTurn = gone()
    #expect((1...Responder.smallestLot).contains(inTurn))
    responder.note(touched: records)
    #expect(responder.hasTouched)
    #expect(gone() == 300 - inTurn)
    #expect(!responder.hasTouched)
  }

  @Test("of what waits to leave so many recipients are looked at in a tick, and all in turn")
  func manyRecipientsDepart() throws {
    let bench = try Workbench()
    let spam = try (0..<9).map { _ in
      try bench.message(to: ["a@remote.example", "b@remote.example"])
    }
    let responder = try bench.responder()
    #expect(bench.quarantine(spam, with: responder).compactMap(\.quarantined).count == 9)
    responder.watchedRecipients = 5
    bench.pass(seconds: 7200)
    let gone = (0..<4).map { _ in
      responder.quarantineTick(at: bench.now).outcomes.compactMap(\.gone).count
    }
    #expect(gone == [3, 3, 3, 0])
  }

  @Test(
    "a bounce that was due is not sent, and its text is kept with the copy; bounces may stand elsewhere, by a link",
    arguments: [false, true])
  func bounce(isLinked: Bool) throws {
    let bench = try Workbench()
    if isLinked {
      let folder = "\(bench.qmail)/queue/bounce"
      try #require(rename(folder, "\(bench.path)/bounce") == 0)
      try #require(symlink("\(bench.path)/bounce", folder) == 0)
    }
    bench.obey { $0.recipient == Address("no@remote.example") ? .failure : .deferral }
    let spam = try bench.message(to: ["no@remote.example", "late@remote.example"])
    #expect(try bench.letters(spam) == "DT")
    let responder = try bench.responder()
    _ = bench.quarantine([spam], with: responder)
    let store = try QuarantineStore(path: "\(bench.state)/quarantine", creating: false)
    #expect(try store.bounce(spam)?.starts(with: "<no@remote.example>:".utf8) == true)
    bench.pass(seconds: 3600)
    #expect(responder.quarantineTick(at: bench.now).outcomes.compactMap(\.gone).count == 1)
    #expect(!bench.log.contains { $0.hasPrefix("bounce msg") })
  }

  @Test("a virtual domain's prepend is taken off local recipients when they are given back")
  func prepend() throws {
    var control = SimulatedQmail.usualControl
    control["virtualdomains"] = "vdom.test:joe\n"
    control["rcpthosts"] = "mx.test\nvdom.test\n"
    let bench = try Workbench(control: control)
    let spam = try bench.message(to: ["bob@vdom.test"])
    let responder = try bench.responder()
    let record = try #require(
      bench.quarantine([spam], with: responder).compactMap(\.quarantined).first)
    bench.obey { _ in .success }
    _ = responder.release(record, inDoubt: false, at: bench.now)
    bench.pass(seconds: 10)
    #expect(bench.deliveries.map(\.attempt.recipient) == [Address("joe-bob@vdom.test")])
  }

  @Test("a message being delivered is left until the attempt is over")
  func inFlight() throws {
    let bench = try Workbench()
    let spam = try bench.message()
    try bench.beginDelivery(from: "alice@mx.test", to: "bob@remote.example")
    let responder = try bench.responder()
    let outcomes = bench.quarantine([spam], with: responder)
    #expect(outcomes == [])
    #expect(try bench.letters(spam) == "T")
    #expect(try responder.ledger.quarantine([.intended]).count == 1)
    bench.endDelivery()
    #expect(bench.settle(responder).compactMap(\.quarantined).count == 1)
  }

  @Test(
    "recipients whose delivery began in the last moment are in doubt, and given back only when asked"
  )
  func inDoubt() throws {
    let bench = try Workbench()
    let spam = try bench.message(to: ["bob@remote.example"])
    let responder = try bench.responder()
    let looks = Atomic<Int>(0)
    let proc = "\(bench.path)/proc"
    try bench.beginDelivery(from: "alice@mx.test", to: "bob@remote.example", in: "soon")
    let soon = "\(bench.path)/soon"
    responder.look = {
      // The third look is the one after the marks.
      if looks.add(1, ordering: .relaxed).newValue == 3 { rename(soon, "\(proc)/77") }
      return try DeliveriesInFlight.look(proc: proc)
    }
    let record = try #require(
      bench.quarantine([spam], with: responder).compactMap(\.quarantined).first)
    #expect(record.facts.inDoubt == 1)
    bench.endDelivery()
    let held = responder.release(record, inDoubt: false, at: bench.now)
    #expect(held.compactMap(\.failure).first?.why.contains("--in-doubt") == true)
    let given = responder.release(record, inDoubt: true, at: bench.now)
    #expect(given.compactMap(\.released).count == 1)
  }

  @Test("where deliveries cannot be seen, nothing is set aside, and that is told with its remedy")
  func hiddenDeliveries() throws {
    let bench = try Workbench()
    let spam = try bench.message(to: ["bob@remote.example"])
    let remote = try QueueLayout.read(qmail: bench.qmail).path(.remote, spam.id)
    let before = try bench.bytes(remote)
    let responder = try bench.responder()
    // As hidepid=2 makes it.
    try #require(rename("\(bench.path)/proc/1", "\(bench.path)/init") == 0)
    let outcomes = bench.quarantine([spam], with: responder)
    #expect(outcomes.compactMap(\.quarantined).isEmpty)
    #expect(outcomes.compactMap(\.failure).first?.why.contains("hidepid") == true)
    #expect(try bench.bytes(remote) == before)
  }

  @Test(
    "marks lost with the machine and a release before the next start: what the queue has again is not given twice"
  )
  func lostMarksReleased() throws {
    let bench = try Workbench()
    let layout = try QueueLayout.read(qmail: bench.qmail)
    let spam = try (0..<2).map { number in
      try bench.message(to: ["a\(number)@remote.example", "b\(number)@remote.example"])
    }
    let responder = try bench.responder()
    _ = bench.quarantine(spam, with: responder)
    // All of the first one's marks, and the first one of the second's.
    for (identity, marks) in [(spam[0], [Int64(0), 19]), (spam[1], [0])] {
      let file = try Descriptor.open(layout.path(.remote, identity.id), .readWrite)
      for mark in marks { try file.write(byte: UInt8(ascii: "T"), at: mark) }
    }
    #expect(try spam.map { try bench.letters($0) } == ["TT", "TD"])
    let rows = try responder.ledger.quarantine([.marked])
    let outcomes = responder.release(rows, inDoubt: false, at: bench.now)
    #expect(outcomes.compactMap(\.released).map(\.identity) == [spam[1]])
    #expect(outcomes.compactMap(\.failure).first?.why.contains("is in the queue") == true)
    #expect(try spam.map { try bench.letters($0) } == ["TT", "DD"])
    #expect(try responder.ledger.quarantine(of: spam[0])?.state == .abandoned)
    let before = bench.deliveries.count
    bench.obey { _ in .success }
    bench.pass(seconds: 3600)
    _ = bench.settle(responder)
    let recipients = bench.deliveries.dropFirst(before).map(\.attempt.recipient)
    #expect(
      recipients.map { "\($0)" }.sorted()
        == ["a0", "a1", "b0", "b1"].map { "\($0)@remote.example" })
  }

  @Test("a doubt that the copy has lost with the machine, and the ledger has not, is one still")
  func lostDoubt() throws {
    let bench = try Workbench()
    let spam = try bench.message(to: ["bob@remote.example"])
    let responder = try bench.responder()
    let record = try #require(
      bench.quarantine([spam], with: responder).compactMap(\.quarantined).first)
    let late = FinishedDelivery(
      id: spam.id, queuedBy: nil, channel: .remote, recipient: Address("bob@remote.example"))
    #expect(responder.noteFinished([late], at: bench.now).isEmpty)
    let copy = "\(bench.state)/quarantine/\(spam.id).\(spam.birth.nanoseconds).mail"
    let bytes = try bench.bytes(copy)
    let note = Array("Ir0 bob@".utf8)
    let place = try #require(
      bytes.indices.first { bytes[$0...].prefix(note.count).elementsEqual(note) })
    try Descriptor.open(copy, .readWrite).write(byte: UInt8(ascii: "M"), at: Int64(place))
    let refused = responder.release(record, inDoubt: false, at: bench.now)
    #expect(refused.compactMap(\.failure).first?.why.contains("--in-doubt") == true)
    #expect(
      responder.release(record, inDoubt: true, at: bench.now).compactMap(\.released).count == 1)
  }

  @Test(
    "a delivery that no look has shown, but the log does, puts its recipient in doubt; a later message's under the same number does not"
  )
  func toldByTheLog() throws {
    let bench = try Workbench()
    let spam = try bench.message(to: ["bob@remote.example", "eve@remote.example"])
    let layout = try QueueLayout.read(qmail: bench.qmail)
    let pid = try #require(
      MessageHead(try bench.bytes(layout.path(.mess, spam.id))).pid)
    let responder = try bench.responder()
    let record = try #require(
      bench.quarantine([spam], with: responder).compactMap(\.quarantined).first)
    func finished(_ recipient: String, queuedBy pid: Int?) -> FinishedDelivery {
      FinishedDelivery(
        id: spam.id, queuedBy: pid, channel: .remote, recipient: Address(recipient))
    }
    #expect(
      responder.noteFinished([finished("bob@remote.example", queuedBy: pid + 1)], at: bench.now)
        .isEmpty)
    #expect(try responder.ledger.quarantine(number: record.id)?.facts.inDoubt == 0)
    let outcomes = responder.noteFinished(
      [
        finished("bob@remote.example", queuedBy: pid),
        finished("joe@remote.example", queuedBy: pid),
      ], at: bench.now)
    #expect(outcomes.isEmpty)
    #expect(try responder.ledger.quarantine(number: record.id)?.facts.inDoubt == 1)
    let given = responder.release(
      try #require(try responder.ledger.quarantine(number: record.id)), inDoubt: false,
      at: bench.now)
    #expect(given.compactMap(\.released).first?.released == 1)
    bench.obey { _ in .success }
    bench.pass(seconds: 10)
    #expect(
      bench.deliveries.suffix(1).map(\.attempt.recipient) == [Address("eve@remote.example")])
    #expect(
      !bench.deliveries.dropFirst(2).map(\.attempt.recipient).contains(
        Address("bob@remote.example")))
  }

  @Test(
    "what left, what changed hands and what is protected is left alone, and the record says why")
  func abandoned() throws {
    let bench = try Workbench()
    let stranger = try bench.message(from: "carol@mx.test")
    let ghost = EntryIdentity(id: 4, birth: bench.start)
    let reused = EntryIdentity(id: stranger.id, birth: stranger.birth - .seconds(5))
    let saved = try bench.message(from: "ceo@mx.test")
    bench.policy.protect.senders = ["ceo@mx.test"]
    let responder = try bench.responder()
    let outcomes = bench.quarantine([ghost, reused, saved], with: responder)
    let notes = outcomes.compactMap(\.abandoned).compactMap(\.note)
    #expect(notes.count == 3)
    #expect(notes[0].contains("left the queue"))
    #expect(notes[1].contains("reused"))
    #expect(notes[2].contains("protect list"))
    #expect(try bench.letters(stranger) == "T")
    #expect(try bench.letters(saved) == "T")
  }

  @Test("what was released is not set aside again by the storm that goes on")
  func notAgain() throws {
    let bench = try Workbench()
    let spam = try bench.message()
    let responder = try bench.responder()
    let record = try #require(
      bench.quarantine([spam], with: responder).compactMap(\.quarantined).first)
    _ = responder.release(record, inDoubt: false, at: bench.now)
    bench.now = WallClock.now()
    bench.pass(seconds: 1)
    let layout = try QueueLayout.read(qmail: bench.qmail)
    var back: Entry?
    try QueueIDs.all(layout).forEach { id in
      if case .entry(let entry) = EntryReader(layout: layout).read(id), entry.source == .uid(0) {
        back = entry
      }
    }
    let entry = try #require(back)
    let outcomes = bench.quarantine([entry.identity], with: responder)
    #expect(outcomes.compactMap(\.abandoned).first?.note?.contains("released") == true)
    #expect(try bench.letters(entry.identity) == "T")
  }

  @Test(
    "a policy that has come to be against it leaves what is not yet copied in the queue",
    arguments: ["observe", "quarantine off", "not this kind"])
  func changedPolicy(change: String) throws {
    let bench = try Workbench()
    let spam = try bench.message()
    let responder = try bench.responder()
    try responder.ledger.record(.test(.relaySender))
    _ = responder.perform(
      [PlannedAction(incident: 1, action: .quarantine(spam))], at: bench.now)
    switch change {
    case "observe": responder.policy.mode = .observe
    case "quarantine off": responder.policy.quarantine.isEnabled = false
    default: responder.policy.quarantine.kinds.remove(.relaySender)
    }
    let left = bench.settle(responder).compactMap(\.abandoned)
    #expect(left.count == 1 && left[0].note?.contains("the policy was changed") == true)
    #expect(try bench.letters(spam) == "T")
  }

  @Test("held actions are told once a storm and guard, and counted in the history")
  func held() throws {
    let bench = try Workbench()
    let responder = try bench.responder()
    let held = (0..<50).map { number in
      PlannedAction(
        incident: 1, action: .quarantine(EntryIdentity(id: UInt64(number), birth: bench.start)),
        decision: .hold(by: .shareOfQueue, why: "\(number) of 100"))
    }
    #expect(responder.perform(Array(held[..<25]), at: bench.now).count == 1)
    #expect(responder.perform(Array(held[25...]), at: bench.now) == [])
    #expect(try responder.ledger.actions().map(\.times) == [50])
    #expect(try responder.ledger.quarantineCounts().isEmpty)
  }

  @Test("copies expire when their time has run out, and not while in the queue")
  func expiry() throws {
    let bench = try Workbench()
    bench.policy.quarantine.keep = .seconds(7200)
    let spam = try bench.message()
    let responder = try bench.responder()
    _ = bench.quarantine([spam], with: responder)
    #expect(responder.expireQuarantine(at: bench.now + .seconds(9000)) == [])
    bench.pass(seconds: 3600)
    _ = responder.quarantineTick(at: bench.now)
    #expect(responder.expireQuarantine(at: bench.now) == [])
    let outcomes = responder.expireQuarantine(at: bench.now + .seconds(7200))
    #expect(outcomes.count == 1)
    #expect(try responder.ledger.quarantineCounts() == [.expired: 1])
    #expect(
      try QuarantineStore(path: "\(bench.state)/quarantine", creating: false).contents().messages
        == [])
  }

  @Test("a copy that cannot be read keeps no other message waiting")
  func unreadableCopy() throws {
    let bench = try Workbench()
    let spam = try (0..<3).map { try bench.message(to: ["r\($0)@remote.example"]) }
    let responder = try bench.responder()
    _ = bench.quarantine([spam[0], spam[1]], with: responder)
    // A second name, as a backup by hard links makes it.
    let copy = { (identity: EntryIdentity) in
      "\(bench.state)/quarantine/\(identity.id).\(identity.birth.nanoseconds).mail"
    }
    #expect(link(copy(spam[0]), "\(bench.path)/backup") == 0)

    responder.stopAfter = { $0 == .releaseIntended }
    let first = try #require(try responder.ledger.quarantine(of: spam[1]))
    _ = responder.release(first, inDoubt: false, at: bench.now)
    #expect(link(copy(spam[1]), "\(bench.path)/backup-1") == 0)
    responder.stopAfter = nil
    let outcomes = bench.quarantine([spam[2]], with: responder)
    #expect(outcomes.compactMap(\.quarantined).map(\.identity) == [spam[2]])
    #expect(outcomes.compactMap(\.failure).map(\.value) == ["\(spam[1].id)"])

    let ended = spam.map {
      FinishedDelivery(
        id: $0.id, queuedBy: nil, channel: .remote,
        recipient: Address("r\($0 == spam[0] ? 0 : 2)@remote.example"))
    }
    let told = responder.noteFinished([ended[0], ended[2]], at: bench.now)
    #expect(told.compactMap(\.failure).map(\.value) == ["\(spam[0].id)"])
    #expect(try responder.ledger.quarantine(of: spam[2])?.facts.inDoubt == 1)

    for suffix in ["", "-wal", "-shm"] { unlink("\(bench.state)/ledger.sqlite\(suffix)") }
    let fresh = try bench.responder()
    let found = fresh.recover(at: bench.now)
    #expect(fresh.isRecovered)
    #expect(
      Set(found.compactMap(\.failure).map(\.value)) == ["\(spam[0].id)", "\(spam[1].id)"])
    #expect(try fresh.ledger.quarantine(of: spam[2])?.state == .marked)
  }

  @Test("a lost ledger is rebuilt from the quarantine directory")
  func lostLedger() throws {
    let bench = try Workbench()
    let spam = try bench.message()
    _ = bench.quarantine([spam], with: try bench.responder())
    for suffix in ["", "-wal", "-shm"] { unlink("\(bench.state)/ledger.sqlite\(suffix)") }
    let responder = try bench.responder()
    _ = responder.recover(at: bench.now)
    let record = try #require(try responder.ledger.quarantine(of: spam))
    #expect(record.state == .marked)
    #expect(record.facts.sender == Address("alice@mx.test"))
    #expect(record.facts.subject == Array("spam".utf8))
    bench.obey { _ in .success }
    #expect(
      responder.release(record, inDoubt: false, at: bench.now).compactMap(\.released).count == 1)
  }

  @Test("a copy of which the ledger was lost before the first mark does not become an order")
  func lostLedgerBeforeTheMarks() throws {
    let bench = try Workbench()
    let spam = try bench.message()
    let killed = try bench.responder()
    killed.stopAfter = { $0 == .copiesRecorded }
    _ = bench.quarantine([spam], with: killed)
    for suffix in ["", "-wal", "-shm"] { unlink("\(bench.state)/ledger.sqlite\(suffix)") }
    let responder = try bench.responder()
    let outcomes = responder.recover(at: bench.now) + bench.settle(responder)
    #expect(outcomes.compactMap(\.quarantined).isEmpty)
    #expect(try bench.letters(spam) == "T")
    #expect(try responder.ledger.quarantineCounts() == [.abandoned: 1])
    let store = try QuarantineStore(path: "\(bench.state)/quarantine", creating: false)
    #expect(try store.contents().messages == [])
  }

  @Test(
    "a ledger restored from an older day, when the message had been left: the copy made since is kept"
  )
  func olderLedger() throws {
    let bench = try Workbench()
    let spam = try bench.message()
    func move(_ old: String, _ new: String) {
      for suffix in ["", "-wal", "-shm"] {
        rename("\(bench.state)/\(old)\(suffix)", "\(bench.state)/\(new)\(suffix)")
      }
    }
    do {
      let killed = try bench.responder()
      killed.stopAfter = { $0 == .copiesRecorded }
      _ = bench.quarantine([spam], with: killed)
      bench.policy.mode = .observe
      let responder = try bench.responder()
      _ = responder.recover(at: bench.now)
      _ = bench.settle(responder)
      #expect(try responder.ledger.quarantineCounts() == [.abandoned: 1])
    }
    move("ledger.sqlite", "backup")
    bench.policy.mode = .enforce
    bench.pass(seconds: 60)
    #expect(
      bench.quarantine([spam], with: try bench.responder()).compactMap(\.quarantined).count == 1)
    bench.pass(seconds: 3600)
    #expect(try bench.letters(spam) == nil)
    move("backup", "ledger.sqlite")
    let responder = try bench.responder()
    _ = responder.recover(at: bench.now)
    _ = bench.settle(responder)
    let record = try #require(try responder.ledger.quarantine(of: spam))
    #expect(record.state == .marked || record.state == .gone)
    // The entry has left before anybody could look: who got it is not known.
    #expect(
      responder.release(record, inDoubt: true, at: bench.now).compactMap(\.released).count == 1)
  }

  @Test(
    "a ledger from before a release, or none: the copy says that it was given back, and it is not given twice",
    arguments: [false, true])
  func releasedSince(isLost: Bool) throws {
    let bench = try Workbench()
    let spam = try bench.message()
    func move(_ old: String, _ new: String) {
      for suffix in ["", "-wal", "-shm"] {
        let (old, new) = ("\(bench.state)/\(old)\(suffix)", "\(bench.state)/\(new)\(suffix)")
        unlink(new)
        rename(old, new)
      }
    }
    _ = bench.quarantine([spam], with: try bench.responder())
    for suffix in ["", "-wal", "-shm"] {
      let path = "\(bench.state)/ledger.sqlite\(suffix)"
      guard let bytes = try? bench.bytes(path) else { continue }
      try Replacement.write(bytes, to: "\(bench.state)/backup\(suffix)", mode: 0o600)
    }
    do {
      let responder = try bench.responder()
      let record = try #require(try responder.ledger.quarantine(of: spam))
      #expect(
        responder.release(record, inDoubt: false, at: bench.now).compactMap(\.released).count == 1)
    }
    if isLost { bench.pass(seconds: 3600) }
    move(isLost ? "none" : "backup", "ledger.sqlite")
    let responder = try bench.responder()
    let outcomes = responder.recover(at: bench.now) + bench.settle(responder)
    #expect(outcomes.compactMap(\.quarantined).isEmpty)
    let states = try responder.ledger.quarantineCounts()
    if let record = try responder.ledger.quarantine(of: spam), record.state == .marked {
      let again = responder.release(record, inDoubt: true, at: bench.now)
      #expect(again.compactMap(\.failure).first?.why.contains("released already") == true)
    } else {
      #expect(isLost && states == [.abandoned: 1], "\(states)")
      let store = try QuarantineStore(path: "\(bench.state)/quarantine", creating: false)
      #expect(try store.contents().messages == [])
    }
    let layout = try QueueLayout.read(qmail: bench.qmail)
    let given = try QueueIDs.all(layout).filter { $0 != spam.id }
    #expect(given.count == 1)
  }
}

/// All numbers under `mess`.
enum QueueIDs {
  static func all(_ layout: QueueLayout) throws -> [UInt64] {
    var ids: [UInt64] = []
    for part in 0..<layout.split {
      try Descriptor.open("\(layout.queue)/mess/\(part)", .directory).forEachName { name, _ in
        if let id = name.queueNumber { ids.append(id) }
      }
    }
    return ids
  }
}
