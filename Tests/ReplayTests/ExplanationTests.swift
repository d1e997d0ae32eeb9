import Mail
import Policy
import Replay
import Storms
import Testing

@Suite("Explaining how somebody stands")
struct ExplanationTests {
  private func replay(_ name: String, _ policy: Policy, until end: Double = .infinity) throws
    -> Replay
  {
    let trace = try Recorded.trace(name)
    var replay = Replay(policy: policy, header: trace.header)
    for observation in trace.observations.prefix(while: { $0.time.seconds <= end }) {
      _ = replay.observe(observation)
    }
    return replay
  }

  private func text(_ replay: Replay, _ whom: String) throws -> String {
    replay.report(on: try #require(Subject(whom))).lines.joined(separator: "\n")
  }

  @Test(
    "before its storm the figures say how far it is; in it, which storm, what is done and which guard holds"
  )
  func flooder() throws {
    // The flood began at …392.007 and is told of at …394.
    let early = try replay("relay_user", enforcing(), until: 1_795_458_392.6)
    let before = try text(early, "dave@mx.test")
    #expect(before.contains("of 30 messages") && before.contains("of 60 recipients in 300 s"))
    #expect(before.contains("verdict     no storm"))
    #expect(before.contains("If it became a storm now:"))
    let late = try replay("relay_user", Policy(), until: 1_795_458_400)
    for whom in ["dave@mx.test", "dave", "198.18.66.6", "user:dave", "client:198.18.66.6"] {
      #expect(try text(late, whom).contains("storm       1, relay-sender: One sender floods"))
    }
    #expect(try !text(late, "dave").contains("If it became"))
    // In observe mode the block would be done but for the mode; a replay counts it as done and asks no more.
    #expect(try text(late, "dave").contains("set aside   held by observe-mode: "))
    let message = try text(late, "1410837")
    #expect(message.contains("message 1410837") && message.contains("sender      <dave@mx.test>"))
    #expect(message.contains("user dave, client 198.18.66.6") && message.contains("storm       1"))
  }

  @Test("the policy decides what would follow: which guard would hold")
  func guards() throws {
    let policy = enforcing {
      $0.protect.users = ["dave"]
      $0.blocking.isEnabled = false
    }
    let replay = try replay("relay_user", policy, until: 1_795_458_400)
    let told = try text(replay, "dave@mx.test")
    #expect(told.contains("block       dave@mx.test for 1d: held by protected: "))
    #expect(told.contains("set aside   held by protected: "))
  }

  @Test("an innocent in the same hour is in no storm, and an unknown one is said to be unknown")
  func innocent() throws {
    let replay = try replay("relay_user", Policy())
    let carol = try text(replay, "carol@mx.test")
    #expect(carol.contains("verdict     no storm") && !carol.contains("\nstorm  "))
    #expect(carol.contains("- floor     ") && carol.contains("would prove it"))
    let unknown = try text(replay, "nobody@nowhere.example")
    #expect(unknown.contains("unknown     no mail of it within 5m"))
    #expect(replay.report(on: .message(1)).isUnknown)
  }

  @Test("backscatter is explained by what all strangers sent")
  func backscatter() throws {
    let replay = try replay("backscatter_postmaster_defers", Policy(), until: 1_795_458_483)
    let json = try JSONValue(
      Array(replay.report(on: .offender(.sender(.null))).json.text.utf8)[...])
    #expect(json["known"] == .bool(false))
  }

  @Test("the JSON has each step with its figures, and each action with its guard")
  func json() throws {
    let replay = try replay("relay_user", enforcing { $0.blocking.isEnabled = false })
    let subject = try #require(Subject("dave@mx.test"))
    let json = try JSONValue(Array(replay.report(on: subject).json.text.utf8)[...])
    #expect(json["known"] == .bool(true) && json["incidents"] == .array([.integer(1)]))
    let steps = json["standings"]?.array?.first?["steps"]?.array ?? []
    #expect(
      steps.compactMap { $0["step"]?.string } == [
        "floor", "normal", "failures", "deferrals", "volume", "marks",
      ])
    let block = json["actions"]?.array?.first
    #expect(block?["action"] == .string("block") && block?["done"] == .bool(false))
    #expect(block?["guard"] == .string("switched-off"))
  }

  @Test("what is asked about is known by its form, or by the word before it")
  func subjects() {
    let forms: [String: Subject] = [
      "Alice@MX.test": .offender(.sender(Address("alice@mx.test"))),
      "@spam.example": .offender(.senderDomain(Domain("spam.example"))),
      "192.0.2.7": .offender(.client("192.0.2.7")),
      "2001:db8::7": .offender(.client("2001:db8::7")),
      "alice": .offender(.user("alice")), "uid:33": .offender(.uid(33)),
      "1410837": .message(1_410_837), "id:7": .message(7), "user:33": .offender(.user("33")),
      "sender:alice": .offender(.sender(Address("alice"))),
      "domain:x.example": .offender(.senderDomain(Domain("x.example"))),
      "client:mail.example": .offender(.client("mail.example")),
    ]
    for (text, subject) in forms { #expect(Subject(text) == subject, "\(text)") }
    for text in ["", "uid:", "uid:x", "id:-1", "user:"] { #expect(Subject(text) == nil, "\(text)") }
  }
}
