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
      see(.departure(id: 77))
      late.append([
        .info(id: 77, bytes: 900, sender: .null, pid: pid, uid: 1002),
        .starting(delivery: UInt64(n), id: 77, channel: .local, recipient: recipient),
        .outcome(delivery: UInt64(n), .failure, text: "no mailbox"), .end(id: 77),
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
    #expect(found.messages == 200)
    #expect(found.failed == 200)
    #expect(found.delivered == 0)
  }
}
