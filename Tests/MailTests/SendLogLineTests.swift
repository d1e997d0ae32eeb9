import Fixtures
import Testing

@testable import Mail

@Suite("Lines of qmail-send's log") struct SendLogLineTests {
  @Test("every line of a real log is understood")
  func real() throws {
    var kinds: [String: Int] = [:]
    for line in String(decoding: try Sample.bytes("send.log"), as: UTF8.self).split(separator: "\n")
    {
      let text = String(line.drop { $0 != " " }.dropFirst())
      let parsed = SendLogLine(text)
      if case .other = parsed { Issue.record("not understood: \(text)") }
      kinds[text.split(separator: " ")[0].description, default: 0] += 1
    }
    #expect(kinds["info"] == kinds["new"])
    #expect(kinds["delivery", default: 0] > 10)
  }

  @Test(
    "what is told, field by field",
    arguments: [
      ("new msg 12", SendLogLine.new(id: 12)), ("end msg 18446744073709551615", .end(id: .max)),
      ("bounce msg 12 qp 34", .bounce(id: 12, pid: 34)),
      (
        "info msg 12: bytes 1668 from <a b> qp 1 uid 2@x> qp 34 uid 1002",
        .info(id: 12, bytes: 1668, sender: Address("a b> qp 1 uid 2@x"), pid: 34, uid: 1002)
      ),
      (
        "info msg 12: bytes 0 from <> qp 3 uid 0",
        .info(id: 12, bytes: 0, sender: .null, pid: 3, uid: 0)
      ),
      (
        "starting delivery 3: msg 12 to remote a b@x",
        .starting(delivery: 3, id: 12, channel: .remote, recipient: Address("a b@x"))
      ),
      ("delivery 3: deferral: ", .outcome(delivery: 3, .deferral, text: "")),
      ("delivery 3: deferral:", .outcome(delivery: 3, .deferral, text: "")),
      (
        "delivery 3: failure: no mailbox: here",
        .outcome(delivery: 3, .failure, text: "no mailbox: here")
      ),
      (
        "delivery 3: report mangled, will defer",
        .outcome(delivery: 3, .deferral, text: "report mangled, will defer")
      ),
      ("status: local 0/10 remote 0/20", .status(text: "local 0/10 remote 0/20")),
    ])
  func fields(line: String, expected: SendLogLine) { #expect(SendLogLine(line) == expected) }

  @Test(
    "what is no such line is kept as it is",
    arguments: [
      "", " ", "new", "new msg", "new msg ", "new msg x", "new msg -1", "new msg 1 2",
      "new msg 18446744073709551616", "info msg 1: bytes 2 from <a qp 3 uid 4",
      "info msg 1: bytes 2 from > qp 3 uid 4", "info msg 1: bytes 2 from < qp 3 uid 4",
      "info msg 1 bytes 2 from <> qp 3 uid 4", "info msg 1: bytes 2 from <> qp 3 uid -4",
      "info msg 1: bytes 2 from <>", "starting delivery 1: msg 2 to local",
      "starting delivery 1: msg 2 to nowhere a@b", "delivery 1", "delivery 1: maybe: x",
      "delivery : success: x", "bounce msg 1", "bounce msg 1 qp", "warning: trouble",
      "alert: oh no!",
      "triple bounce: discarding bounce/12",
    ])
  func others(line: String) { #expect(SendLogLine(line) == .other(text: line)) }

  @Test("any bytes are a line of some kind")
  func hostile() {
    let sender: [UInt8] = [0xFF, 0, 0x20, 0x1B]
    #expect(
      SendLogLine(
        bytes: Array("info msg 1: bytes 2 from <".utf8) + sender + Array("> qp 3 uid 4".utf8))
        == .info(id: 1, bytes: 2, sender: Address(sender), pid: 3, uid: 4))
    var dice = Dice(seed: 11)
    let whole = Array("starting delivery 1: msg 2 to local joe@mx.test".utf8)
    for _ in 0..<2000 {
      var line = whole
      for _ in 0..<3 {
        line[Int.random(in: line.indices, using: &dice)] = .random(in: 0...255, using: &dice)
      }
      _ = SendLogLine(bytes: Array(line.prefix(.random(in: 0...line.count, using: &dice))))
    }
  }
}
