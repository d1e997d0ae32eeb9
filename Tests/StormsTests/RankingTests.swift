import Mail
import Storms
import Testing

@Suite("Who sends most") struct RankingTests {
  private func network(_ client: String, _ user: String? = nil) -> Source {
    .network(client: client, helo: nil, user: user)
  }

  private func row(_ rows: [Ranking.Row], _ value: String) -> Ranking.Row? {
    rows.first { $0.offender.value == value }
  }

  @Test(
    "mail of a storm, mail that comes in and bounces all count, each for its sender and its source")
  func all() throws {
    var scenario = Scenario()
    for number in 0..<60 {
      let time = Double(number) * 0.1
      scenario.send(
        at: time, from: "alice@mx.test", source: network("198.18.66.6", "alice"),
        to: (0..<2).map {
          ("x@d\(number * 2 + $0).example", $0 == 0 || number % 3 == 0 ? .rejected : .accepted)
        })
      if number % 6 == 0 {
        scenario.send(
          at: time, from: "friend@far.example", source: network("203.0.113.5"),
          to: [("bob@mx.test", .accepted)])
      }
    }
    var detector = StormDetector(settings: DetectorSettings(), localDomains: ours)
    let end = start + .seconds(20)
    _ = scenario.run(&detector)
    let ranking = detector.ranking(10, at: end)
    let storm = try #require(detector.storms.first)
    let alice = try #require(ranking.senders.first)
    #expect(alice.offender == .sender(Address("alice@mx.test")))
    #expect([alice.messages, alice.recipients] == [60, 120])
    #expect([alice.failed, alice.delivered] == [80, 40])
    #expect(alice.incident == storm.incident)
    for name in ["alice", "198.18.66.6"] {
      let source = try #require(row(ranking.sources, name))
      #expect([source.messages, source.failed, source.delivered] == [60, 80, 40])
      #expect(source.incident == storm.incident)
    }
    #expect(row(ranking.senders, "")?.messages == 60)
    #expect(row(ranking.senders, "friend@far.example")?.delivered == 10)
    #expect(row(ranking.sources, "203.0.113.5")?.messages == 10)
    #expect(row(ranking.sources, "203.0.113.5")?.incident == nil)
    #expect(detector.ranking(1, at: end).senders.count == 1)
    // What is older than the window is gone.
    let later = detector.ranking(10, at: end + .seconds(400))
    #expect(later.senders.isEmpty && later.sources.isEmpty)
  }

  @Test("a message that waited in todo for long is one message when the log tells of it")
  func waited() throws {
    var detector = StormDetector(settings: DetectorSettings(), localDomains: ours)
    func see(_ event: Observation.Event, _ seconds: Int) {
      _ = detector.observe(Observation(time: start + .seconds(seconds), event: event))
    }
    for number in 0..<40 {
      see(
        .arrival(
          Entry(
            identity: EntryIdentity(id: UInt64(number), birth: start), size: 900,
            sender: Address("alice@mx.test"), source: network("198.18.66.6", "alice"),
            queuedBy: 5000 + number, unrouted: [Address("x@d\(number).example")],
            isUnprocessed: true)), 0)
    }
    for number in 0..<40 {
      let id = UInt64(number)
      see(.log(.new(id: id)), 60)
      see(
        .log(
          .info(id: id, bytes: 900, sender: Address("alice@mx.test"), pid: 5000 + number, uid: 7)),
        60)
      see(
        .log(
          .starting(
            delivery: id, id: id, channel: .remote, recipient: Address("x@d\(number).example"))),
        60)
      see(.log(.outcome(delivery: id, .failure, text: "no")), 60)
      see(.log(.end(id: id)), 60)
    }
    let ranking = detector.ranking(10, at: start + .seconds(60))
    for row in [ranking.senders.first, row(ranking.sources, "alice")] {
      #expect(row.map { [$0.messages, $0.recipients, $0.failed] } == [40, 40, 40])
    }
    #expect(detector.outcomes.failed == 40)
  }

  @Test("a message that the log tells of first counts once, and its outcome goes to its source")
  func logFirst() {
    var detector = StormDetector(settings: DetectorSettings(), localDomains: ours)
    func see(_ event: Observation.Event) {
      _ = detector.observe(Observation(time: start, event: event))
    }
    see(.log(.new(id: 7)))
    see(.log(.info(id: 7, bytes: 9, sender: Address("a@mx.test"), pid: 70, uid: 7)))
    see(.log(.starting(delivery: 1, id: 7, channel: .remote, recipient: Address("x@d.example"))))
    see(.log(.outcome(delivery: 1, .failure, text: "no")))
    see(
      .arrival(
        Entry(
          identity: EntryIdentity(id: 7, birth: start), size: 9, sender: Address("a@mx.test"),
          source: network("10.0.0.1"), queuedBy: 70,
          unrouted: [Address("x@d.example"), Address("y@d.example")], isUnprocessed: false)))
    let ranking = detector.ranking(10, at: start)
    for row in [ranking.senders.first, ranking.sources.first] {
      #expect(row.map { [$0.messages, $0.recipients, $0.failed] } == [1, 2, 1])
    }
  }

  @Test("a flood of random senders pushes out no heavy one, and equals keep their order")
  func crowded() {
    var detector = StormDetector(settings: DetectorSettings(), localDomains: ours)
    var id: UInt64 = 0
    func send(_ sender: String, _ client: String) {
      id += 1
      let time = start + .milliseconds(Int64(id))
      _ = detector.observe(
        Observation(
          time: time,
          event: .arrival(
            Entry(
              identity: EntryIdentity(id: id, birth: time), size: 9, sender: Address(sender),
              source: network(client), unrouted: [Address("bob@mx.test")], isUnprocessed: true))))
    }
    for number in 0..<5000 {
      send("random\(number)@r\(number).example", "192.0.2.\(number % 250)")
      if number % 20 == 0 { for name in ["a", "b", "c"] { send("\(name)@x.example", "10.0.0.1") } }
    }
    let first = detector.ranking(3, at: start + .seconds(6))
    #expect(first.senders.map(\.offender.value) == ["a@x.example", "b@x.example", "c@x.example"])
    #expect(first.senders.map(\.messages) == [250, 250, 250])
    #expect(first.sources.first?.offender == .client("10.0.0.1"))
    #expect(first.sources.first?.messages == 750)
  }
}
