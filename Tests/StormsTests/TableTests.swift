import Mail
import Testing

@testable import Storms

@Suite("Tables of fixed size")
struct TableTests {
  @Test("heavy hitters stay, whatever crowd of light ones passes, with an error that is bounded")
  func heavyHitters() {
    var table = HeavyHitters<Int, Int>(capacity: 100)
    for round in 0..<20_000 {
      _ = table.add(1_000_000 + round, at: start, new: 0)
      if round % 10 == 0 { _ = table.add(7, at: start, new: 0) }
    }
    #expect(table.count == 100)
    let weight = table.weight(of: 7, at: start)
    #expect(weight >= 2000 && weight <= 2000 + 22_000.0 / 100)
    #expect(table.heaviest(1, at: start).first?.key == 7)
    // Weights halve.
    #expect(abs(table.weight(of: 7, at: start + .seconds(600)) - weight / 2) < 1)
    // Years later the numbers still hold.
    let later = start + .seconds(40_000_000)
    _ = table.add(8, at: later, new: 0)
    #expect(table.weight(of: 7, at: later) < 0.001)
    #expect(table.weight(of: 8, at: later) >= 1)
  }

  @Test("a window forgets what is older than it, and counts late births where they belong")
  func window() {
    var window = TallyWindow(.seconds(300))
    window.add(Tally(messages: 5), at: start)
    window.add(Tally(messages: 1), at: start + .seconds(200))
    window.add(Tally(messages: 1), at: start + .seconds(100))
    #expect(window.sum.messages == 7)
    window.add(Tally(messages: 100), at: start - .seconds(400))
    #expect(window.sum.messages == 7)
    window.advance(to: start + .seconds(335))
    #expect(window.sum.messages == 2)
    window.advance(to: start + .seconds(5000))
    #expect(window.sum == Tally())
  }

  @Test("about eight failures in a row decide; ordinary mail never does")
  func sequentialTest() {
    var test = SequentialTest(DetectorSettings())
    test.add(failed: 6, delivered: 0)
    #expect(!test.isProven)
    test.add(failed: 2, delivered: 0)
    #expect(test.isProven)
    var scenario = Scenario()
    var ordinary = SequentialTest(DetectorSettings())
    for _ in 0..<20_000 {
      let isFailure = scenario.random(100) < 15
      ordinary.add(failed: isFailure ? 1 : 0, delivered: isFailure ? 0 : 1)
      if ordinary.isProven { break }
    }
    #expect(!ordinary.isProven)
  }

  @Test("different things are counted exactly up to 48, and within a tenth after that")
  func spread() {
    var spread = Spread(window: .seconds(300))
    for number in 0..<48 { spread.add(StableHash.of("d\(number)".utf8), at: start) }
    #expect(spread.distinct == 48)
    for number in 0..<1000 { spread.add(StableHash.of("d\(number)".utf8), at: start) }
    #expect(abs(spread.distinct - 1000) < 100)
    for _ in 0..<2000 { spread.add(1, at: start) }
    #expect(spread.topShare > 0.6)
    spread.add(2, at: start + .seconds(700))
    #expect(spread.distinct == 1)
  }

  @Test("normal is learned from hours, is none on the first, and a wild hour does not move it")
  func baseline() {
    var baseline = Baseline()
    for hour in 0..<24 {
      let time = start + .seconds(Int64(hour) * 3600)
      baseline.note(hour == 10 ? 5000 : 20, at: time)
      if hour < 3 { #expect(baseline.normal == nil) }
    }
    #expect(baseline.normal.map { abs($0 - 20) < 3 } == true)
    #expect(baseline.limit.map { $0 < 100 } == true)
    var tainted = Baseline()
    for hour in 0..<24 {
      tainted.note(5000, at: start + .seconds(Int64(hour) * 3600))
      tainted.taint()
    }
    #expect(tainted.normal == nil)
  }

  @Test("logarithms and powers of two are near enough")
  func approximations() {
    #expect(abs(log2Approximation(1000) - 9.965_784) < 0.001)
    #expect(abs(log2Approximation(0.001) + 9.965_784) < 0.001)
    #expect(abs(exp2Approximation(3.5) - 11.313_7) < 0.02)
    #expect(abs(exp2Approximation(-1.25) - 0.420_448) < 0.001)
  }

  @Test("twelve thousand senders in a minute leave the tables at their sizes")
  func bounded() {
    var detector = StormDetector(settings: DetectorSettings(), localDomains: ours)
    for number in 0..<12_000 {
      let time = start + .milliseconds(Int64(number) * 2)
      let identity = EntryIdentity(id: UInt64(number % 5000), birth: time)
      _ = detector.observe(
        Observation(
          time: time,
          event: .arrival(
            Entry(
              identity: identity, sender: Address("s\(number)@d\(number % 997).example"),
              source: .network(
                client: "10.\(number % 251).\(number % 13).1", helo: nil, user: nil),
              remote: [Recipient(address: Address("r\(number)@t\(number % 50).example"))]))))
      _ = detector.observe(Observation(time: time, event: .departure(id: identity.id)))
    }
    // 4,096 senders, 3,263 clients, 997 sender domains.
    #expect(detector.groups.count == 4096 + 3263 + 997)
    #expect(detector.storms.isEmpty)
  }

  @Test("however many keys come, what was noted lately is known, in the memory of the start")
  func generations() {
    var table = Generations(like: 0)
    let places = table.places
    #expect(places >= 2 * Generations<Int>.limit && table[3] == nil)
    for key in 0..<100_000 { table.update(UInt64(key), default: 0) { $0 = key } }
    table.change { $0 += 1 }
    #expect(table[99_999] == 100_000 && table[UInt64(100_000 - Generations<Int>.limit)] != nil)
    #expect(table[3] == nil)
    #expect(table.places == places)
  }

  @Test("heavy hitters that take their memory at once never need more")
  func takenAtOnce() {
    var table = HeavyHitters(taking: 100, like: (key: 0, value: 0))
    let room = table.room
    #expect(room >= 100 && table.count == 0)
    for key in 0..<1000 { _ = table.add(key, at: start, new: key) }
    #expect(table.room == room && table.count == 100)
    #expect(HeavyHitters(like: table).room >= 100)
  }

  @Test("a sender that fell silent costs no window; when it writes again it counts as ever")
  func silent() {
    var detector = StormDetector(settings: DetectorSettings(), localDomains: ours)
    func send(_ count: Int, at seconds: Double, thenWait: Double = 0) {
      var scenario = Scenario()
      for number in 0..<count {
        scenario.send(
          at: seconds + Double(number), from: "a@mx.test",
          source: .network(client: "10.0.0.1", helo: nil, user: nil),
          to: [("r\(number)@t\(number).example", .accepted)])
      }
      if thenWait > 0 { scenario.clock(to: thenWait) }
      _ = scenario.run(&detector)
    }
    let key = Offender.sender(Address("a@mx.test"))
    send(8, at: 0, thenWait: 1000)
    // As last counted.
    #expect(detector.groups.group(key)?.window.sum.messages == 8)
    #expect(detector.groups.group(key)?.window.ring.isEmpty == true)
    #expect(detector.groups.group(key)?.domains.distinct == 0)
    send(3, at: 1000)
    #expect(detector.groups.group(key)?.window.sum.messages == 3)
    #expect(detector.groups.group(key)?.domains.distinct == 3)
  }

  @Test("the table of messages keeps the newest, and forgets the numbers of the others")
  func mailTable() {
    var table = MailTable(capacity: 4)
    let facts = MailFacts(logged: Address("a@b"), uid: nil)
    for id in 1...10 {
      let identity = EntryIdentity(id: UInt64(id), birth: start)
      table.setCurrent(UInt64(id), table.insert(TrackedMessage(identity: identity, facts: facts)))
    }
    #expect(table.serials == 6..<10)
    #expect(table.serials.map { table[$0].identity.id } == [7, 8, 9, 10])
    #expect(table.current(3) == nil && table.current(6) == nil)
    #expect(table.current(7) == 6)
  }
}
