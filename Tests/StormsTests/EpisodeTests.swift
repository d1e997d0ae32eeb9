import Mail
import Storms
import Testing

private let mallory = Source.network(client: "198.51.100.9", helo: nil, user: "bob")

@Suite("The course of a storm")
struct EpisodeTests {
  @Test("a pause is the same storm, a long silence ends it, and what comes then is a new one")
  func pause() {
    var scenario = Scenario()
    scenario.flood(at: 5) { _ in ("bob@mx.test", mallory) }
    scenario.flood(at: 400) { _ in ("bob@mx.test", mallory) }
    scenario.flood(at: 2000) { _ in ("bob@mx.test", mallory) }
    scenario.clock(to: 3000)
    let outcome = scenario.run()
    #expect(outcome.began.map(\.storm.incident) == [1, 2])
    #expect(outcome.ended.map(\.incident) == [1, 2])
    let first = outcome.ended.first
    #expect(first?.evidence.messages == 600)
    // Twelve minutes after the last that was more than a trickle.
    #expect(
      (first?.ended).map { $0 > start + .seconds(1120) && $0 < start + .seconds(1135) } == true)
  }

  @Test("growth by an order of magnitude is told once, not at each message")
  func growth() {
    var scenario = Scenario()
    scenario.flood(at: 5, count: 3000) { _ in ("bob@mx.test", mallory) }
    let outcome = scenario.run()
    #expect(outcome.began.count == 1)
    #expect(outcome.changed.count <= 2)
    #expect(outcome.changed.contains { $0.evidence.messages >= 1000 })
  }

  @Test("what a first look finds of before the storm joins it not, and is counted")
  func older() {
    var scenario = Scenario()
    // The newest first, as a large queue is read; one a second in the last half hour.
    for n in 0..<1800 {
      scenario.observe(
        .arrival(
          Entry(
            identity: EntryIdentity(id: UInt64(50_000 + n), birth: start - .seconds(Double(n))),
            size: 900, sender: Address("bob@mx.test"), source: mallory,
            remote: [Recipient(address: Address("a\(n)@d\(n % 40).example"))],
            isBouncing: true)), at: 0.1 + Double(n) * 0.001)
    }
    var detector = StormDetector(settings: DetectorSettings(), localDomains: ours)
    let outcome = scenario.run(&detector)
    #expect(outcome.began.count == 1)
    let older = detector.older[1] ?? 0
    #expect(older > 1400 && older < 1800)
    #expect((detector.storms.first?.evidence.messages ?? 0) + older <= 1800)
  }

  @Test("what waited in todo since before the storm was seen belongs to it, in one incident")
  func backlogInTodo() {
    var scenario = Scenario()
    // While qmail-send was down, 1,500 messages came; they are taken in one after the other when it is back.
    var waiting: [EntryIdentity] = []
    for n in 0..<1500 {
      let todo = EntryIdentity(
        id: UInt64(50_000 + n), birth: start - .milliseconds(90_000 - n * 10))
      waiting.append(todo)
      scenario.observe(
        .arrival(
          Entry(
            identity: todo, size: 900, sender: Address("www@mx.test"), source: .uid(33),
            unrouted: [Address("a\(n)@d\(n % 40).example")], isUnprocessed: true)), at: 0.1)
    }
    var lasting: Set<EntryIdentity> = []
    for (n, todo) in waiting.enumerated() {
      let at = 1 + Double(n) * 0.01
      let identity = EntryIdentity(id: todo.id, birth: start + .milliseconds(Int64(at * 1000)))
      scenario.observe(.processed(identity), at: at)
      if n < 300 {
        scenario.observe(
          .progress(.init(id: todo.id, doneLocal: 0, doneRemote: 1, isBouncing: true, failed: 1)),
          at: at + 0.05)
      } else {
        lasting.insert(identity)
      }
    }
    scenario.clock(to: 60)
    let outcome = scenario.run()
    #expect(Set(outcome.began.map(\.storm.incident)) == [1])
    #expect(outcome.changed.last?.kind ?? outcome.began.last?.storm.kind == .localScript)
    #expect(lasting.isSubset(of: Set(outcome.joined)))
  }

  @Test("senders that begin to rotate widen the storm to what they share")
  func widening() {
    var scenario = Scenario()
    scenario.flood(at: 5) { _ in ("bob@mx.test", mallory) }
    scenario.flood(at: 20, name: "later") { ("x\($0)@forged\($0).example", mallory) }
    let outcome = scenario.run()
    #expect(outcome.began.map(\.storm.kind) == [.relaySender])
    #expect(outcome.changed.last?.kind == .relaySource)
    #expect(outcome.changed.last?.offenders == [.user("bob"), .client("198.51.100.9")])
    #expect(outcome.joinedNames.contains("later"))
  }

  @Test(
    "a flood that is accepted is told of only; when it begins to fail it is a storm, of the same number"
  )
  func accepted() {
    var scenario = Scenario()
    scenario.flood(at: 5, count: 1500, deferred: 0, rejected: 2) { _ in ("bob@mx.test", mallory) }
    var early = scenario.run()
    #expect(early.began.map(\.storm.kind) == [.surge])
    #expect(early.began.first?.storm.offenders.first == .sender(Address("bob@mx.test")))
    #expect(early.joined.isEmpty && early.grave.isEmpty)
    scenario.flood(at: 60, count: 1500, deferred: 10, rejected: 80) { _ in ("bob@mx.test", mallory)
    }
    early = scenario.run()
    #expect(early.began.count == 1)
    #expect(early.changed.contains { $0.kind == .relaySender && $0.incident == 1 })
  }

  @Test("two storms at once are two, each with its own messages")
  func twoAtOnce() {
    var scenario = Scenario()
    scenario.ordinaryMail(to: 40, every: 0.5)
    scenario.flood(at: 5, name: "bob") { _ in ("bob@mx.test", mallory) }
    scenario.flood(at: 6, name: "script") { _ in ("www@mx.test", .uid(33)) }
    let outcome = scenario.run()
    #expect(Set(outcome.began.map(\.storm.kind)) == [.relaySender, .localScript])
    #expect(Set(outcome.joinedNames) == ["bob", "script"])
  }

  @Test("after a restart an open storm goes on: its messages join, under its number")
  func resume() throws {
    var scenario = Scenario()
    scenario.flood(at: 5) { _ in ("bob@mx.test", mallory) }
    var first = StormDetector(settings: DetectorSettings(), localDomains: ours, nextIncident: 7)
    let before = scenario.run(&first)
    #expect(before.began.first?.storm.incident == 7)

    var later = StormDetector(
      settings: DetectorSettings(), localDomains: ours, resuming: first.storms, nextIncident: 8)
    func entry(_ sender: String, _ source: Source, at seconds: Int64) -> Entry {
      Entry(
        identity: EntryIdentity(id: UInt64(90_000 + seconds), birth: start + .seconds(seconds)),
        sender: Address(sender), source: source,
        remote: [Recipient(address: Address("z@target.example"))])
    }
    let ofStorm = entry("BOB@mx.test", mallory, at: 9)
    let new = entry("bob@mx.test", mallory, at: 59)
    let older = entry("bob@mx.test", mallory, at: 1)
    let elsewhere = entry(
      "bob@mx.test", .network(client: "10.0.0.2", helo: nil, user: "bob"), at: 10)
    for (entry, joins) in [(ofStorm, true), (new, true), (older, false), (elsewhere, false)] {
      let events = later.observe(Observation(time: start + .seconds(60), event: .arrival(entry)))
      #expect(events == (joins ? [.joined(incident: 7, entry.identity)] : []))
    }
    #expect(later.storms.first?.evidence.messages == 301)
  }

  @Test("a message is one sample, though its number comes again")
  func samples() {
    var storm = Storm(
      incident: 7, kind: .relaySender, began: start, lastSeen: start,
      offenders: [.sender(Address("bob@mx.test"))], samples: [11])
    storm.evidence.messages = 300
    storm.evidence.failed = 200
    storm.evidence.failuresProven = true
    var detector = StormDetector(
      settings: DetectorSettings(), localDomains: ours, resuming: [storm], nextIncident: 8)
    for (place, id) in [UInt64(11), 12, 12].enumerated() {
      let now = start + .seconds(1 + place)
      let entry = Entry(
        identity: EntryIdentity(id: id, birth: now), sender: Address("bob@mx.test"),
        source: mallory, remote: [Recipient(address: Address("z@target.example"))])
      _ = detector.observe(Observation(time: now, event: .arrival(entry)))
    }
    #expect(detector.storms.first?.evidence.messages == 303)
    #expect(detector.storms.first?.samples == [11, 12])
  }

  @Test("so it is of a surge")
  func surgeSamples() {
    var detector = StormDetector(settings: DetectorSettings(), localDomains: ours)
    for number in 0..<1100 {
      let now = start + .milliseconds(Int64(number * 20))
      let id = UInt64(11 + number % 5 / 2)
      let entry = Entry(
        identity: EntryIdentity(id: id, birth: now), sender: Address("bob@mx.test"),
        source: mallory,
        remote: [Recipient(address: Address("z@target\(number % 180).example"))])
      _ = detector.observe(Observation(time: now, event: .arrival(entry)))
      _ = detector.observe(
        Observation(time: now + .milliseconds(5), event: .departure(id: id)))
    }
    #expect(detector.storms.map(\.kind) == [.surge])
    #expect(detector.storms.first?.samples == [11, 12, 13])
  }

  @Test("entries that are being retired are no evidence when they leave")
  func ownActions() {
    var scenario = Scenario()
    scenario.flood(at: 5) { _ in ("bob@mx.test", mallory) }
    for serial in 0..<300 {
      scenario.observe(.departure(id: UInt64(1000 + serial)), at: 40)
    }
    var with = StormDetector(settings: DetectorSettings(), localDomains: ours)
    let outcome = scenario.run(&with) { _, events, detector in
      for case .joined(_, let identity) in events { detector.disregard(identity) }
    }
    #expect(outcome.began.count == 1)
    let evidence = with.storms.first?.evidence
    #expect(evidence.map { $0.delivered < 100 } == true)
    #expect(evidence?.lingering == 0)
  }

  @Test("the sentence tells what, who, how many, since when, over what, and samples, on one line")
  func sentence() {
    var scenario = Scenario()
    let nasty = "evil\u{1B}[2J\n\"x\"\u{202E}@mx.test"
    scenario.flood(at: 5) { _ in (nasty, mallory) }
    let outcome = scenario.run()
    guard let reason = outcome.began.first?.storm.reason else {
      Issue.record("no storm")
      return
    }
    #expect(reason.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value < 0x7F })
    for part in [
      "sender evil", "user bob", "client 198.51.100.9", "messages", "failed for good",
      "since 2026-11-23T", "floor of 30 messages", "no normal learned yet", "for example #",
    ] {
      #expect(reason.contains(part), "\(part) in \(reason)")
    }
  }

  @Test("a surge tells of the floor that it is over, and the queue's growth of no recipients")
  func surgeSentence() {
    var accepted = Scenario()
    accepted.flood(at: 5, count: 1100, rate: 20, deferred: 0, rejected: 1) { _ in
      ("www@mx.test", .uid(33))
    }
    let surge = accepted.run().began.first?.storm
    #expect(surge?.kind == .surge)
    #expect(
      surge?.reason.contains("over the floor of 1000 messages or 10000 recipients in 300 s") == true
    )

    var few = Scenario()
    for number in 0..<120 {
      few.send(
        at: 5 + Double(number), from: "dave@mx.test",
        source: .network(client: "10.0.0.4", helo: nil, user: "dave"),
        to: (0..<100).map {
          ("v\(number).\($0)@target\((number * 31 + $0 * 7) % 180).example", .accepted)
        })
    }
    #expect(few.run().began.map(\.storm.kind) == [.surge])

    var growing = Scenario()
    for minute in 0..<10 {
      growing.observe(
        .counts(QueueCounts(messages: 100 + minute * 200, unprocessed: 0)), at: Double(minute * 60))
    }
    let growth = growing.run().began.first?.storm
    #expect(growth?.kind == .surge)
    #expect(
      growth?.reason == "The queue grew from 100 to 1100 messages since \(start.iso8601)")
  }

  @Test("hostile addresses of any length and bytes are taken as they are")
  func hostile() {
    var detector = StormDetector(settings: DetectorSettings(), localDomains: ours)
    var scenario = Scenario()
    for number in 0..<2000 {
      let length = scenario.random(60)
      let bytes = (0..<length).map { _ in UInt8(scenario.random(256)) }
      let address = Address(number % 50 == 0 ? Array(repeating: 0x40, count: 1000) : bytes)
      let entry = Entry(
        identity: EntryIdentity(
          id: UInt64(scenario.random(300)), birth: start + .milliseconds(Int64(number))),
        sender: address,
        source: number % 3 == 0
          ? .bounce(original: .init(sender: address, source: .unknown, failedRecipients: -5))
          : .network(client: String(decoding: bytes, as: UTF8.self), helo: nil, user: nil),
        unrouted: [address, Address("")], isUnprocessed: number % 2 == 0)
      let time = start + .milliseconds(Int64(number) * 3)
      _ = detector.observe(Observation(time: time, event: .arrival(entry)))
      _ = detector.observe(
        Observation(
          time: time,
          event: .progress(
            .init(
              id: entry.identity.id, doneLocal: -3, doneRemote: 1 << 40, isBouncing: true,
              failed: number % 2 == 0 ? nil : .max))))
      _ = detector.observe(
        Observation(
          time: time,
          event: .log(SendLogLine("delivery \(number): failure: \(entry.sender)"))))
    }
    _ = detector.observe(
      Observation(
        time: Timestamp(nanoseconds: .max),
        event: .counts(QueueCounts(messages: .max, unprocessed: -1, doneOnly: .min))))
    #expect(detector.storms.count <= 5)
  }
}
