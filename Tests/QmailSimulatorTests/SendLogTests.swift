import Files
import Mail
import Testing

@testable import QmailSimulator

@Suite struct SendLogTests {
  /// The answers of the sink and mailboxes behind the recorded log, each in flight as long as it was there.
  struct Recorded: Exchanger {
    func answer(to attempt: DeliveryAttempt) -> DeliveryAnswer {
      let to = Text.decode(attempt.recipient.bytes)
      let (outcome, milliseconds): (SendLogLine.Outcome, Int) =
        switch to {
        case "temp1@remote.example": (.deferral, 13)
        case "bad1@remote.example": (.failure, 14)
        case "nobody@mx.test": (.failure, 32)
        case "defer@mx.test": (.deferral, 36)
        case "joe@mx.test": (.success, 40)
        case "ok@remote.example": (.success, 73)
        case "v@down.example", "victim@down1.example", "temp.user@remote2.example",
          "postmaster@mx.test":
          (.deferral, 10)
        case "bad@dom.example": (.failure, 11)
        case _ where to.hasPrefix("ok"): (.success, 50)
        default: (.failure, 5)
        }
      var answer = DeliveryAnswer(
        outcome, to: attempt, host: "127.0.0.1", after: .milliseconds(Int64(milliseconds)))
      if attempt.channel == .remote && outcome == .deferral {
        let report = """
          127.0.0.1 does not like recipient.
          Remote host said: 451 sink says later <\(to)>
          Giving up on 127.0.0.1.

          """
        answer.report = Array(report.utf8)
      }
      return answer
    }
  }

  /// The log with the numbers that differ from run to run taken out: IDs become the messages' ordinal numbers, sizes, PIDs and uids `*`.
  static func shape(_ lines: [String]) -> [String] {
    var ids: [Substring: Int] = [:]
    var messages = 0
    return lines.map { line in
      var words = line.split(separator: " ", omittingEmptySubsequences: false)
      for i in words.indices.dropLast() {
        switch words[i] {
        case "msg":
          let id = words[i + 1].prefix { $0.isNumber }
          // A new message under an old number is another message.
          if words[0] == "new" { (ids[id], messages) = (messages, messages + 1) }
          words[i + 1] = "#\(ids[id, default: -1])" + words[i + 1].dropFirst(id.count)
        case "bytes", "qp", "uid": words[i + 1] = "*"
        default: break
        }
      }
      return words.joined(separator: " ")
    }
  }

  @Test("the messages of a recorded log give the same log, line for line")
  func recordedLog() throws {
    let here = #filePath.split(separator: "/").dropLast(2).joined(separator: "/")
    let recorded = try Descriptor.open("/\(here)/MailTests/Samples/send.log").readAll(
      limit: 1 << 20)
    let lines = recorded.split(separator: 10).map {
      String(Text.decode($0).drop { $0 != " " }.dropFirst())
    }
    let box = try Sandbox(exchanger: Recorded())
    func relayed(_ client: String) -> Source { .network(client: client, helo: "h", user: "alice") }
    try box.send("alice@mx.test", to: "temp1@remote.example", via: relayed("127.66.6.6"))
    box.advance(to: 1)
    try box.send(
      "www-data@mx.test", to: "defer@mx.test", "temp1@remote.example", "nobody@mx.test",
      "bad1@remote.example", "joe@mx.test", "ok@remote.example", via: .uid(33), after: 2)
    box.advance(from: 2, to: 3)
    try box.send("victim@down1.example", to: "nosuch@mx.test", via: relayed("127.9.8.7"), after: 3)
    box.advance(from: 3, to: 4)
    try box.send(
      "badvictim@remote.example", to: "nosuch2@mx.test", via: relayed("127.9.8.6"), after: 5)
    box.advance(from: 5, to: 6)
    try box.send("", to: "nosuch3@mx.test", via: relayed("127.9.8.5"), after: 7)
    box.advance(from: 7, to: 8)
    try box.send(
      "joe-return-7-@mx.test-@[]", to: "ok0@dom.example", "ok1@dom.example", "ok2@dom.example",
      "ok3@dom.example", "ok4@dom.example", "v@down.example", "bad@dom.example", via: .uid(0),
      after: 9)
    box.advance(from: 9, to: 10)
    try box.send("", to: "temp.user@remote2.example", via: relayed("127.3.3.3"), after: 11)
    box.advance(from: 11, to: 12)
    box.qmail.stop(at: box.zero + .seconds(13))
    let (expected, got) = (Self.shape(lines), Self.shape(box.log))
    for (a, b) in zip(expected, got) { #expect(a == b) }
    #expect(expected.count == got.count)
    // Every line is understood by the reader of such logs.
    for line in box.log {
      if case .other(let text) = SendLogLine(line) { Issue.record("not understood: \(text)") }
    }
  }
}
