import Mail
import Storms
import Testing

@Suite("What counts as evidence")
struct EvidenceTests {
  private let desk = Source.network(client: "10.0.0.7", helo: nil, user: "dora")
  private let thief = Source.network(client: "198.51.100.66", helo: nil, user: "dora")

  /// Dora writes from her desk now and then; from the tenth second on somebody else floods with her name.
  private func stolen(rejected: Int, count: Int = 200) -> Outcome {
    var scenario = Scenario()
    for number in 0..<15 {
      scenario.send(
        at: Double(number) * 2, from: "dora@mx.test", source: desk,
        to: [("friend\(number)@home\(number).example", .deferred)], name: "dora's own")
    }
    scenario.flood(at: 10, count: count, rate: 10, deferred: 0, rejected: rejected) { _ in
      ("dora@mx.test", thief)
    }
    scenario.clock(to: 60)
    return scenario.run()
  }

  @Test(
    "an accepted flood from a client strange to its account is told of, and nothing is set aside")
  func strangeClient() {
    let outcome = stolen(rejected: 0)
    #expect(outcome.began.map(\.storm.kind) == [.relaySender])
    guard let (time, storm) = outcome.began.first else { return }
    #expect(!storm.isCertain)
    #expect(storm.reason.contains("told of only"))
    #expect(storm.reason.contains("the account was not used from there before"))
    #expect(
      storm.offenders == [
        .sender(Address("dora@mx.test")), .user("dora"), .client("198.51.100.66"),
      ])
    #expect(time < start + .seconds(15))
    #expect(outcome.joined.isEmpty)
  }

  @Test("when it fails it is certain, and the owner's mail from the usual place is not of it")
  func ownerSpared() {
    let outcome = stolen(rejected: 40)
    #expect(Set(outcome.began.map(\.storm.incident)).count == 1)
    #expect(
      outcome.changed.contains { $0.isCertain } || outcome.began.contains { $0.storm.isCertain })
    #expect(!outcome.joinedNames.contains("dora's own"))
  }

  @Test("an account that moves to a new place by hand is no storm")
  func newTelephone() {
    var scenario = Scenario()
    for number in 0..<5 {
      scenario.send(
        at: Double(number), from: "dora@mx.test", source: desk,
        to: [("friend\(number)@home\(number).example", .accepted)])
    }
    for number in 0..<45 {
      scenario.send(
        at: 20 + Double(number) * 3, from: "dora@mx.test", source: thief,
        to: [("guest\(number)@place\(number).example", .accepted)])
    }
    scenario.clock(to: 200)
    #expect(scenario.run().began.isEmpty)
  }

  @Test("an account that takes another address within its IPv6 network is at home there")
  func privateAddress() {
    var scenario = Scenario()
    func home(_ host: String) -> Source {
      .network(client: "2001:db8:7:1:\(host)", helo: nil, user: "dora")
    }
    for number in 0..<5 {
      scenario.send(
        at: Double(number), from: "dora@mx.test", source: home("aaaa:bbbb:1:2"),
        to: [("friend\(number)@home\(number).example", .accepted)])
    }
    for number in 0..<120 {
      scenario.send(
        at: 20 + Double(number) / 2, from: "dora@mx.test", source: home("cccc:dddd:3:4"),
        to: [("member\(number)@place\(number).example", number % 7 == 0 ? .rejected : .accepted)])
    }
    scenario.clock(to: 100)
    #expect(scenario.run().began.isEmpty)
  }

  private let orders = Source.network(client: "10.0.0.9", helo: nil, user: "orders")

  /// Five hours in which one sender writes much, as always.
  private var ordering: Scenario {
    var scenario = Scenario()
    for hour in 0..<5 {
      scenario.flood(
        at: Double(hour) * 3600, count: 600, rate: 2, deferred: 2, rejected: 8, name: "order"
      ) { _ in ("orders@mx.test", orders) }
    }
    return scenario
  }

  @Test("what fails for good is a storm, however much its sender usually sends")
  func heavySender() {
    var scenario = ordering
    scenario.flood(at: 20_000, count: 200, rate: 1, deferred: 20, rejected: 60) { _ in
      ("orders@mx.test", orders)
    }
    let outcome = scenario.run()
    #expect(outcome.began.map(\.storm.kind) == [.relaySender])
    #expect(outcome.began.first.map { $0.time < start + .seconds(20_060) } == true)
    #expect(outcome.began.first?.storm.evidence.normalPerMinute != nil)
    #expect(!outcome.joinedNames.contains("order"))
  }

  @Test("so is what waits everywhere while the rest is refused, at less than the usual pace")
  func heavySenderDeferred() {
    var scenario = ordering
    scenario.flood(at: 20_000, count: 300, rate: 1, deferred: 94, rejected: 6) { _ in
      ("orders@mx.test", orders)
    }
    scenario.clock(to: 20_400)
    let outcome = scenario.run()
    #expect(outcome.began.map(\.storm.kind) == [.relaySender])
    #expect(outcome.began.first.map { $0.time < start + .seconds(20_220) } == true)
  }

  @Test(
    "one message to thousands is a storm when it fails, and its sender's other letters are not of it",
    arguments: [1, 3])
  func fewMessages(count: Int) {
    var scenario = Scenario()
    let mallory = Source.network(client: "10.0.0.7", helo: nil, user: "dora")
    for number in 0..<12 {
      scenario.send(
        at: Double(number) * 5, from: "dora@mx.test", source: mallory,
        to: [("friend\(number)@home\(number).example", .deferred)], subject: "letter",
        name: "letter")
    }
    for number in 0..<count {
      let recipients = (0..<3000 / count).map {
        (
          address: "v\(number).\($0)@target\($0 % 180).example",
          fate: $0 % 5 < 3 ? Fate.rejected : $0 % 5 == 3 ? .deferred : .accepted
        )
      }
      scenario.send(
        at: 32 + Double(number), from: "dora@mx.test", source: mallory, to: recipients,
        subject: "You have won", name: "flood")
    }
    scenario.clock(to: 90)
    let outcome = scenario.run()
    #expect(outcome.began.map(\.storm.kind) == [.relaySender])
    #expect(outcome.began.first.map { $0.time < start + .seconds(36) } == true)
    #expect(outcome.joinedNames == Array(repeating: "flood", count: count))
  }

  @Test("a message to everybody the sender knows, of whom a fifth has moved, is none")
  func everybody() {
    var scenario = Scenario()
    scenario.send(
      at: 5, from: "dora@mx.test", source: desk,
      to: (0..<700).map { ("m\($0)@home\($0 % 90).example", $0 % 5 == 0 ? .rejected : .accepted) })
    scenario.clock(to: 60)
    #expect(scenario.run().began.isEmpty)
  }

  @Test("a double bounce tells of its bounce, and not a second time of the message")
  func doubleBounce() {
    var scenario = Scenario()
    // A list of which a fifth fails, whose bounces fail too.
    for number in 0..<400 {
      let isGone = number % 5 == 0
      let at = 5 + Double(number) / 10
      let sender = "club-bounces+m\(number)=home.example@mx.test"
      scenario.send(
        at: at, from: sender, source: .uid(38),
        to: [("m\(number)@home\(number % 60).example", isGone ? .rejected : .accepted)],
        isList: true)
      guard isGone else { continue }
      scenario.send(
        at: at + 0.2, from: "#@[]",
        source: .bounce(original: .init(sender: Address(sender), source: .uid(38))),
        to: [("postmaster@mx.test", .accepted)])
    }
    scenario.clock(to: 90)
    #expect(scenario.run().grave.isEmpty)
  }

  @Test(
    "a user who has written much is flooded with bounces all the same, by the count of what he may expect"
  )
  func joeJob() {
    var scenario = Scenario()
    for number in 0..<40 {
      scenario.send(
        at: Double(number) / 4, from: "dora@mx.test", source: desk,
        to: [("friend\(number)@home\(number).example", .accepted)])
    }
    for number in 0..<200 {
      scenario.send(
        at: 20 + Double(number) / 10, from: "",
        source: .network(client: "203.0.113.\(number % 200)", helo: nil, user: nil),
        to: [("dora@mx.test", .accepted)], name: "notice")
    }
    scenario.clock(to: 60)
    let outcome = scenario.run()
    #expect(outcome.began.map(\.storm.kind) == [.backscatterIn])
    #expect(outcome.began.first?.storm.victims.contains("dora@mx.test") == true)
  }

  @Test("a delivery that the log tells of before its message is counted for it")
  func equalStamps() {
    var detector = StormDetector(settings: DetectorSettings(), localDomains: ours)
    for number in 0..<60 {
      let time = start + .milliseconds(Int64(number) * 100)
      let id = UInt64(700 + number)
      let delivery = UInt64(number + 1)
      let lines: [SendLogLine] = [
        .new(id: id),
        .starting(
          delivery: delivery, id: id, channel: .remote, recipient: Address("x\(number)@y.example")),
        .info(id: id, bytes: 900, sender: Address("a@mx.test"), pid: 9000 + number, uid: 1002),
        .outcome(delivery: delivery, .failure, text: "no"), .end(id: id),
      ]
      for line in lines { _ = detector.observe(Observation(time: time, event: .log(line))) }
    }
    #expect(detector.storms.first.map { $0.evidence.failed >= 30 } == true)
  }
}
