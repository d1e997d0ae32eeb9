import Storms
import Testing

@testable import Policy

@Suite("Values of a policy")
struct PolicyReadingTests {
  @Test("every setting arrives where it belongs")
  func everything() throws {
    let found = outcome(
      """
      mode: enforce
      polling: {normal: 10s, storm: "2s", full-pass: 5m}
      log: {source: /var/log/qmail/send, tag: qmail-send}
      metrics: {file: /run/qwarden/qwarden.prom}
      detection:
        window: 10m
        messages: 50
        recipients: 100
        times-normal: 2.5
        accepted-messages: 500
        pause: 1h
      blocking:
        enabled: false
        kinds: [relay-source]
        local-senders: false
        whole-domains: true
        duration: 1h
        repeat-factor: 3
        longest: 7d
        per-hour: 0
        grace: 0s
        dialect: regex
      quarantine:
        enabled: false
        kinds: []
        per-storm: 5
        share-of-queue: 0.25
        keep: 30d
        minimum-free-space: 10%
        minimum-free-inodes: 2.5%
      protect:
        senders: [Boss@Example.COM, "@news.example"]
        clients: [192.0.2.0/24, "2001:db8::1"]
        users: [robot]
        uids: [33, 0]
      """)
    #expect(found.errors == [])
    let policy = try #require(found.policy)
    #expect(policy.mode == .enforce)
    #expect(policy.polling.normal == .seconds(10))
    #expect(policy.polling.storm == .seconds(2))
    #expect(policy.polling.fullPass == .seconds(300))
    #expect(policy.log.source == .path("/var/log/qmail/send"))
    #expect(policy.log.tag == "qmail-send")
    #expect(policy.metrics.file == "/run/qwarden/qwarden.prom")
    #expect(policy.detection.window == .seconds(600))
    #expect(policy.detection.messages == 50)
    #expect(policy.detection.recipients == 100)
    #expect(policy.detection.timesNormal == 2.5)
    #expect(policy.detection.acceptedMessages == 500)
    #expect(policy.detection.pause == .seconds(3600))
    #expect(!policy.blocking.isEnabled)
    #expect(policy.blocking.kinds == [.relaySource])
    #expect(!policy.blocking.localSenders)
    #expect(policy.blocking.wholeDomains)
    #expect(policy.blocking.duration == .seconds(3600))
    #expect(policy.blocking.repeatFactor == 3)
    #expect(policy.blocking.longest == .seconds(7 * 86_400))
    #expect(policy.blocking.perHour == 0)
    #expect(policy.blocking.grace == .zero)
    #expect(policy.blocking.dialect == "regex")
    #expect(!policy.quarantine.isEnabled)
    #expect(policy.quarantine.kinds == [])
    #expect(policy.quarantine.perStorm == 5)
    #expect(policy.quarantine.shareOfQueue == 0.25)
    #expect(policy.quarantine.keep == .seconds(30 * 86_400))
    #expect(policy.quarantine.minimumFreeSpace == 0.1)
    #expect(policy.quarantine.minimumFreeInodes == 0.025)
    #expect(policy.protect.senders == ["boss@example.com", "@news.example"])
    #expect(policy.protect.clients == ["192.0.2.0/24", "2001:db8::1"])
    #expect(policy.protect.users == ["robot"])
    #expect(policy.protect.uids == [33, 0])
  }

  @Test(
    "what is left out keeps its default; a section may be empty; CRLF and a byte-order mark do no harm"
  )
  func partial() {
    #expect(outcome("mode: observe").policy == Policy())
    #expect(outcome("blocking:\n  # per-hour: 3\nmode: observe\n").policy == Policy())
    #expect(outcome("\u{FEFF}mode: observe\r\npolling:\r\n  normal: 5s\r\n").policy == Policy())
    #expect(outcome("blocking:\n  dialect: auto\n").policy == Policy())
  }

  @Test(
    "each way to name a log",
    arguments: [
      ("auto", Policy.Log.Source.auto), ("none", .none), ("journal", .journal),
      ("qmail.service", .unit("qmail.service")),
      ("\"/var/log/my mail\"", .path("/var/log/my mail")),
    ])
  func logs(text: String, source: Policy.Log.Source) {
    #expect(outcome("log:\n  source: \(text)\n").policy?.log.source == source)
  }

  @Test("the nearest key is found for slips, not for other words")
  func nearest() {
    let known = ["share-of-queue", "keep", "per-storm", "mode"]
    #expect(NearestKey.of("share_of_queue", among: known) == "share-of-queue")
    #expect(NearestKey.of("ShareOfQueu", among: known) == nil)
    #expect(NearestKey.of("keeep", among: known) == "keep")
    #expect(NearestKey.of("kepe", among: known) == "keep")
    #expect(NearestKey.of("perstrom", among: known) == "per-storm")
    #expect(NearestKey.of("node", among: known) == "mode")
    #expect(NearestKey.of("colour", among: known) == nil)
    #expect(NearestKey.of(String(repeating: "k", count: 100_000), among: known) == nil)
  }
}
