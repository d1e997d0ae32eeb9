import Mail
import Storms
import Testing

@Suite("The log joined with the queue") struct LogJoinTests {
  /// A client's mail to users who do not exist, every message under the same number, as ext4 gives it; the log comes `lag` messages late.
  private func evidence(lag: Int) throws -> Evidence {
    var detector = StormDetector(settings: DetectorSettings(), localDomains: ours)
    var late: [[SendLogLine]] = []
    for n in 0..<200 {
      let birth = start + .milliseconds(Int64(n) * 17)
      func see(_ event: Observation.Event) {
        _ = detector.observe(Observation(time: birth + .milliseconds(8), event: event))
      }
      let pid = 5000 + n
      let recipient = Address("nobody\(n)@mx.test")
      see(
        .arrival(
          Entry(
            identity: EntryIdentity(id: 77, birth: birth), size: 900, sender: .null,
            source: .network(client: "192.0.2.\(n % 50)", helo: nil, user: nil), queuedBy: pid,
            unrouted: [recipient], isUnprocessed: true)))
      see(.processed(EntryIdentity(id: 77, birth: birth + .milliseconds(2))))
      see(
        .arrival(
          Entry(
            identity: EntryIdentity(id: 78, birth: birth + .milliseconds(5)), size: 900,
            sender: .doubleBounce,
            source: .bounce(
              original: .init(
                sender: .null,
                source: .network(client: "192.0.2.\(n % 50)", helo: nil, user: nil))),
            queuedBy: pid + 20_000, unrouted: [Address("postmaster@mx.test")], isUnprocessed: true))
      )
      see(.departure(id: 77))
      see(.departure(id: 78))
      late.append([
        .info(id: 77, bytes: 900, sender: .null, pid: pid, uid: 1002),
        .starting(delivery: UInt64(n), id: 77, channel: .local, recipient: recipient),
        .outcome(delivery: UInt64(n), .failure, text: "no mailbox"),
        .bounce(id: 77, pid: pid + 20_000), .end(id: 77), .new(id: 78),
        .info(id: 78, bytes: 900, sender: .doubleBounce, pid: pid + 20_000, uid: 1001),
        .starting(
          delivery: UInt64(1000 + n), id: 78, channel: .local,
          recipient: Address("postmaster@mx.test")),
        .outcome(delivery: UInt64(1000 + n), .success, text: "ok"), .end(id: 78),
      ])
      if late.count > lag { for line in late.removeFirst() { see(.log(line)) } }
    }
    let end = start + .seconds(4)
    for line in late.joined() { _ = detector.observe(Observation(time: end, event: .log(line))) }
    return try #require(detector.storms.first).evidence
  }

  @Test(
    "a log that lags tells the same: a number used again leads no outcome astray",
    arguments: [0, 1, 5, 30])
  func lag(messages: Int) throws {
    let found = try evidence(lag: messages)
    #expect(found.messages == 400)
    #expect(found.failed == 200)
    #expect(found.delivered == 200)
  }
}
