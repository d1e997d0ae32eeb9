import Mail
import QmailQueue
import Testing

@testable import QmailSimulator

@Suite struct TrafficTests {
  @Test("the same seed gives the same mail, another seed another")
  func seeded() {
    let a = Traffic(.ordinary, messages: 50, perSecond: 5, seed: 3)
    #expect(a.arrivals == Traffic(.ordinary, messages: 50, perSecond: 5, seed: 3).arrivals)
    #expect(a.arrivals != Traffic(.ordinary, messages: 50, perSecond: 5, seed: 4).arrivals)
    var random = SplitMix64(seed: 1_234_567)
    #expect(random.next() == 6_457_827_717_110_365_317)
    #expect(random.next() == 3_203_168_211_198_807_973)
  }

  /// Plays and counts log lines by outcome.
  private func play(_ traffic: Traffic, for seconds: Double) throws -> (Sandbox, [String: Int]) {
    let box = try Sandbox()
    box.qmail.play(traffic, to: .seconds(seconds), start: box.zero)
    var counts: [String: Int] = [:]
    for line in box.log {
      switch SendLogLine(line) {
      case .outcome(_, let outcome, _): counts[outcome.rawValue, default: 0] += 1
      case .bounce: counts["bounce", default: 0] += 1
      case .new: counts["new", default: 0] += 1
      case .other(let text): Issue.record("\(text)")
      default: break
      }
    }
    return (box, counts)
  }

  @Test("of ordinary mail going out about 13 % fails at first, a third of that is delivered later")
  func ordinary() throws {
    let traffic = Traffic(.ordinary, messages: 600, perSecond: 10)
    let (box, counts) = try play(traffic, for: 1000)
    let outside = traffic.arrivals.flatMap(\.injection.recipients).filter {
      $0.domain != Domain("mx.test")
    }
    let first = Double(
      counts["failure", default: 0]
        + box.log.count { line in
          if case .outcome(_, .deferral, _) = SendLogLine(line) { true } else { false }
        })
    #expect(outside.count > 250)
    #expect((0.08...0.2).contains(first / Double(outside.count)))
    let later = box.delivered.count { $0.attempt.channel == .remote && $0.attempt.age > 300 }
    #expect(later > 0)
    #expect(box.files.count < 60)
    #expect(traffic.truths.map(\.kind) == [nil])
  }

  @Test("each storm leaves in queue and log what that storm left on a real qmail")
  func storms() throws {
    let hijack = Traffic(.hijackedAccount, messages: 100, perSecond: 40)
    let (_, relay) = try play(hijack, for: 20)
    let recipients = hijack.arrivals.flatMap(\.injection.recipients)
    #expect(Set(recipients.map(\.domain)).count > 80)
    let rejected = Double(relay["failure", default: 0]) / Double(recipients.count)
    #expect((0.1...0.3).contains(rejected))
    #expect(relay["deferral", default: 0] > recipients.count / 2)
    #expect(hijack.truths.first?.blockable == ["alice@mx.test"])

    let (box, back) = try play(Traffic(.backscatter, messages: 60, perSecond: 30), for: 10)
    #expect(back == ["new": 120, "failure": 60, "bounce": 60, "success": 60])
    #expect(box.files.isEmpty)

    let (piled, doubles) = try play(
      Traffic(.backscatterDeferred, messages: 60, perSecond: 30), for: 10)
    #expect(doubles["deferral"] == 60)
    #expect(try piled.qmail.tree.numbers(.info).allSatisfy { piled.text(.info, $0) == "F#@[]\0" })

    let (_, bounced) = try play(Traffic(.acceptThenBounce, messages: 90, perSecond: 30), for: 20)
    #expect(bounced["bounce", default: 0] >= 90)
    #expect(bounced["deferral", default: 0] > 10)

    let (outage, down) = try play(Traffic(.providerOutage, messages: 50, perSecond: 20), for: 20)
    #expect(down == ["new": 50, "deferral": 50])
    #expect(try outage.qmail.tree.numbers(.info).count == 50)

    let (_, letter) = try play(Traffic(.newsletter, messages: 200, perSecond: 1), for: 30)
    #expect(letter["new"] == 1)
    #expect(letter["success", default: 0] > 180)

    let (_, mailman) = try play(Traffic(.mailmanBurst, messages: 100, perSecond: 50), for: 30)
    #expect(mailman["success", default: 0] > 90)
  }

  @Test(
    "within sixteen days all mail of every kind leaves, each ended, without a warning or a file left"
  )
  func everythingLeaves() throws {
    let traffic = Traffic.Scenario.allCases.reduce(
      Traffic(.ordinary, messages: 10, perSecond: 10, seed: 2)
    ) { $0 + Traffic($1, messages: 4, perSecond: 10) }
    let box = try Sandbox()
    let report = box.qmail.play(traffic, to: .seconds(60), start: box.zero)
    #expect(report.queued == traffic.arrivals.count)
    box.advance(from: 60, to: 16 * 86_400)
    #expect(box.files.isEmpty)
    #expect(
      box.log.count { $0.hasPrefix("new msg") } == box.log.count { $0.hasPrefix("end msg") })
    #expect(!box.log.contains { $0.hasPrefix("warning") || $0.hasPrefix("alert") })
  }

  @Test(
    "joined traffic keeps the order of time and both authors' answers; a block at the gate is counted"
  )
  func joined() throws {
    let both =
      Traffic(.ordinary, messages: 30, perSecond: 10)
      + Traffic(.hijackedAccount, messages: 30, perSecond: 10, start: .seconds(1))
      + Traffic(.backscatterDeferred, messages: 5, perSecond: 10)
    #expect(both.arrivals.map(\.after) == both.arrivals.map(\.after).sorted())
    #expect(both.truths.compactMap(\.kind) == ["relay-sender", "backscatter-in"])
    let box = try Sandbox(control: ["badmailfrom": "alice@mx.test\n"])
    var ticks = 0
    let report = box.qmail.play(both, to: .seconds(30), start: box.zero) { _ in
      ticks += 1
      return true
    }
    #expect(report == PlaybackReport(queued: 35, refused: 30))
    #expect(ticks == 30)
    #expect(box.log.contains { $0.contains("deferral") })
  }

  @Test("the driver plays in real time and stops qmail-send when cancelled")
  func driver() async throws {
    let box = try Sandbox(started: false)
    let qmail = try SimulatedQmail(at: box.qmail.qmail)
    let path = qmail.qmail
    let clock = ContinuousClock()
    let began = clock.now
    let zero = box.zero
    let driver = TrafficDriver(qmail, traffic: Traffic(.webScript, messages: 20, perSecond: 200)) {
      zero + began.duration(to: clock.now)
    }
    let run = Task { try await driver.run() }
    for _ in 0..<200 where await driver.report.queued < 20 {
      try await Task.sleep(for: .milliseconds(10))
    }
    run.cancel()
    try await run.value
    #expect(await driver.report == PlaybackReport(queued: 20))
    let again = try SimulatedQmail(at: path)
    try again.start(at: zero)
    #expect(again.isRunning)
  }
}
