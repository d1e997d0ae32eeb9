import Files
import Glibc
import Ledger
import Mail
import QmailQueue
import Synchronization
import Testing

@testable import Response

@Suite struct LotTests {
  @Test("the batches of a lot are all of it, once, and none is larger than the descriptors allow")
  func batches() {
    for count in [0, 1, 127, 128, 129, 500, 2048, 8192, 100_000] {
      let batches = LotSize.batches(of: count)
      #expect(batches.flatMap { Array($0) } == Array(0..<count))
      #expect(batches.allSatisfy { !$0.isEmpty && $0.count * 8 < DescriptorLimit.raised })
    }
    #expect(LotSize.batches(of: 8192).count > 2)
  }

  @Test("a lot grows while it is quick and full, and shrinks where it keeps the poll waiting")
  func size() {
    var size = LotSize()
    size.lasted(10_000_000, Responder.smallestLot - 1)
    #expect(size.messages == Responder.smallestLot)
    for _ in 0..<10 { size.lasted(10_000_000, size.messages) }
    #expect(size.messages == Responder.largestLot)
    size.lasted(700_000_000, size.messages)
    #expect(size.messages == Responder.largestLot)
    for _ in 0..<10 { size.lasted(1_100_000_000, 1) }
    #expect(size.messages == Responder.smallestLot)
  }

  @Test("messages of very many recipients go a few at a time, so that they do not fill the memory")
  func heavy() throws {
    let bench = try Workbench()
    let messages = try (0..<5).map { _ in try bench.message(to: ["a@b.example", "c@d.example"]) }
    let responder = try bench.responder()
    responder.mostRecipients = 4
    let flushes = Atomic<Int>(0)
    responder.stopAfter = { step in
      if step == .copiesFlushed { flushes.add(1, ordering: .relaxed) }
      return false
    }
    let done = bench.quarantine(messages, with: responder).compactMap(\.quarantined)
    #expect(Set(done.map(\.identity)) == Set(messages))
    #expect(flushes.load(ordering: .relaxed) == 3)
    for message in messages { #expect(try bench.letters(message) == "DD") }
  }

  @Test(
    "messages of many bytes or recipients go a few in a tick, so that they do not keep the poll waiting",
    arguments: [(10_000, 1), (10, 10)])
  func large(bytes: Int, recipients: Int) throws {
    let bench = try Workbench()
    let body = String(repeating: "x", count: bytes)
    let everybody = (1...recipients).map { "bob\($0)@remote.example" }
    let messages = try (0..<5).map { _ in try bench.message(to: everybody, body: body) }
    let responder = try bench.responder()
    responder.mostBytes = 15_000
    _ = responder.perform(
      messages.map { PlannedAction(incident: 1, action: .quarantine($0)) }, at: bench.now)
    let first = responder.quarantineTick(at: bench.now)
    #expect(first.outcomes.compactMap(\.quarantined).count == 2)
    #expect(first.waiting == 3 && first.hasMore)
    let rest = bench.settle(responder).compactMap(\.quarantined)
    #expect(rest.count == 3)
    let done = String(repeating: "D", count: recipients)
    for message in messages { #expect(try bench.letters(message) == done) }
  }

  @Test(
    "a batch that fails leaves the lot's other batches whole, and the next tick finishes it",
    arguments: 1...9)
  func halfFails(failing: Int) throws {
    let bench = try Workbench()
    var messages: [EntryIdentity] = []
    for _ in 0..<300 { messages.append(try bench.message()) }
    let responder = try bench.responder()
    let proc = "\(bench.path)/proc"
    let looks = Atomic<Int>(0)
    // One of the three batches.
    responder.look = {
      if looks.add(1, ordering: .relaxed).newValue == failing {
        throw FileError("look for deliveries", proc, code: EIO)
      }
      return try DeliveriesInFlight.look(proc: proc)
    }
    for _ in 0..<2 { responder.lotSize.lasted(1, responder.lotSize.messages) }
    _ = responder.perform(
      messages.map { PlannedAction(incident: 1, action: .quarantine($0)) }, at: bench.now)
    let first = responder.quarantineTick(at: bench.now)
    let told = first.outcomes.compactMap(\.quarantined).map(\.identity)
    #expect(told.count < 300)
    // A batch looks three times: by the fourth, one is past its second step and the other has begun.
    #expect(failing <= 3 || told.count >= 64)
    #expect(first.outcomes.compactMap(\.failure).count == 1)
    let second = bench.settle(responder).compactMap(\.quarantined).map(\.identity)
    #expect((told + second).sorted() == messages.sorted())
    #expect(try responder.ledger.quarantineCounts() == [.marked: 300])
    let store = try QuarantineStore(path: "\(bench.state)/quarantine", creating: false)
    #expect(try store.contents().messages.count == 300)
    for message in messages { #expect(try bench.letters(message) == "D") }
  }
}
