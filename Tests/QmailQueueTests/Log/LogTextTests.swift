import Files
import Mail
import QmailSimulator
import Testing

@testable import QmailQueue

@Suite("Formats of qmail-send's log") struct LogTextTests {
  let now = Timestamp(seconds: 1_800_000_000)

  private func report(
    _ lines: [[UInt8]], tag: String = "qmail", at now: Timestamp? = nil, written: Timestamp? = nil
  ) -> LogReport {
    var text = LogText(tag: tag)
    for line in lines { text.take(line[...], written: written, at: now ?? self.now) }
    text.flush(at: now ?? self.now)
    return text.collect()
  }

  private func report(_ lines: [String], at now: Timestamp? = nil) -> LogReport {
    report(lines.map { Array($0.utf8) }, at: now)
  }

  /// The lines of a real log: time and text.
  private var real: [(time: Timestamp, text: String)] {
    get throws {
      let path = #filePath.split(separator: "/").dropLast(3).reduce("") { "\($0)/\($1)" }
      let bytes = try Descriptor.open("\(path)/MailTests/Samples/send.log").readAll(limit: 1 << 20)
      return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map { line in
        let parts = line.split(separator: " ", maxSplits: 1)
        let digits = parts[0].split(separator: ".")
        let nanoseconds = Int64(digits[0])! * 1_000_000_000 + Int64(digits[1])! * 1_000_000
        return (Timestamp(nanoseconds: nanoseconds), String(parts[1]))
      }
    }
  }

  @Test(
    "a real log is the same story however it is stamped",
    arguments: ["multilog", "splogger", "rsyslog", "stamped", "CRLF"])
  func formats(format: String) throws {
    let real = try real
    #expect(real.count == 120)
    let found = report(
      real.map { time, text in
        let seconds = LogFixture.splogger(time).split(separator: ": ")[1]
        switch format {
        case "multilog": return LogFixture.multilog(time) + text
        case "splogger": return LogFixture.splogger(time) + text
        case "rsyslog":
          return "2026-11-23T17:41:02.123456+00:00 qmail.host qmail[77]: \(seconds)\(text)"
        case "CRLF": return "\(seconds)\(text)\r"
        default: return "\(seconds)\(text)"
        }
      })
    #expect(
      found.observations
        == real.map { Observation(time: $0.time, event: .log(SendLogLine($0.text))) })
    #expect(found.statistics.lines == 120)
    #expect(found.statistics.foreign + found.statistics.cut == 0)
  }

  @Test("without stamps the time is the journal's, else that of reading")
  func unstamped() throws {
    let lines = try real.map { Array($0.text.utf8) }
    let written = Timestamp(seconds: 1_795_000_000)
    #expect(report(lines, written: written).observations.allSatisfy { $0.time == written })
    #expect(report(lines).observations.allSatisfy { $0.time == now })
    #expect(report(lines).observations.count == 120)
  }

  @Test("a clock that is set back takes the time of the lines with it, stamped or not")
  func setBack() {
    let before = now - .seconds(86_400)
    var text = LogText(tag: "qmail")
    text.take(Array("new msg 1".utf8)[...], at: now)
    text.take(Array("new msg 2".utf8)[...], at: before)
    text.take(
      Array("\(LogFixture.multilog(before + .seconds(1)))new msg 3".utf8)[...],
      at: before + .seconds(2))
    #expect(text.collect().observations.map(\.time) == [now, before, before + .seconds(1)])
  }

  @Test("TAI64N: 2^62 and ten seconds are taken off")
  func tai64n() {
    // The label of tai64nlocal(8)'s example. 0x37c219bf is 935467455; clocks of today count no leap seconds.
    let found = report(["@4000000037c219bf2ef02e94 new msg 5"])
    #expect(found.observations.first?.time == Timestamp(nanoseconds: 935_467_445_787_492_500))
  }

  @Test("others in the same log are left out")
  func foreign() {
    let found = report([
      "Nov 23 17:41:02 mx dovecot: imap-login: status: x",
      "Nov 23 17:41:02 mx qmail-smtpd: 1795455662.1 new msg 1",
      "Nov 23 17:41:02 mx other: see qmail: 1795455662.100000 new msg 2",
      "@400000006a6b6c6d00000000 tcpserver: status: 1/40", "Nov 23 17:41:02 mx xqmail: new msg 3",
      "Nov 23 17:41:02 mx qmail: 1795455662.100000 new msg 4", "", "@", "qmail: ", "qmail:",
      " qmail: ", "1795455662.", "1795455662.1", "1795455662.1+", "99999999999999.1 new msg 6",
    ])
    // A program that logs under another name but quotes ours cannot be told from it without a grammar of hosts; the text decides.
    let ids = found.observations.compactMap {
      if case .log(.new(let id)) = $0.event { id } else { nil }
    }
    #expect(ids == [2, 4])
  }

  private let stamp = "Nov 23 17:41:02 mx qmail: 1795455662.100000"

  @Test(
    "splogger's pieces are one line, wherever it breaks",
    arguments: [780, 799, 800, 1598, 1599, 5000])
  func continuation(length: Int) throws {
    let head = "info msg 12: bytes 1668 from <"
    let tail = "@x> qp 34 uid 1002"
    let sender = String(repeating: "s", count: length - head.count - tail.count)
    let whole = head + sender + tail
    var pieces: [String] = []
    var rest = Substring(whole)
    while !rest.isEmpty {
      pieces.append("\(stamp)\(pieces.isEmpty ? " " : "+")\(rest.prefix(799))")
      rest = rest.dropFirst(799)
    }
    let found = report(pieces + ["Nov 23 17:41:02 mx qmail: 1795455662.100000 end msg 12"])
    #expect(found.observations.count == 2)
    #expect(
      found.observations.first?.event
        == .log(
          .info(id: 12, bytes: 1668, sender: Address(sender + "@x"), pid: 34, uid: 1002)))
    #expect(found.statistics.cut == 0)
  }

  @Test(
    "a piece without its beginning is counted, not guessed; other programs' lines between pieces do no harm"
  )
  func pieces() {
    let orphan = report(["\(stamp)+new msg 9", "\(stamp) end msg 1"])
    #expect(orphan.observations.map(\.event) == [.log(.end(id: 1))])
    #expect(orphan.statistics.cut == 1)
    let text = "delivery 3: failure: " + String(repeating: "x", count: 1000)
    let split = report([
      "\(stamp) \(text.prefix(799))", "Nov 23 17:41:02 mx dovecot: hello",
      "\(stamp)+\(text.dropFirst(799))",
    ])
    #expect(split.observations.map(\.event) == [.log(SendLogLine(text))])
  }

  @Test("stamps that go back, or lie in the future, never move time back or ahead of the reader")
  func times() {
    let found = report(
      [
        "1795455662.100000 new msg 1", "1795455661.000000 new msg 2", "1799999999.0 new msg 3",
        "1795455663.5 new msg 4",
      ], at: Timestamp(seconds: 1_795_455_700))
    #expect(
      found.observations.map(\.time.seconds)
        == [1_795_455_662.1, 1_795_455_662.1, 1_795_455_700, 1_795_455_700])
  }

  @Test(
    "a stamp beyond what a timestamp holds is text", arguments: ["9999999999.5", "9223372037.0"])
  func hugeStamp(_ stamp: String) {
    #expect(LogStamp.seconds(Array("\(stamp) new msg 1".utf8)[...]) == nil)
  }

  @Test("any bytes, lines without end and endless continuation: bounded, counted, never fatal")
  func hostile() {
    var dice = SplitMix64(seed: 11)
    var text = LogText(tag: "qmail")
    for _ in 0..<3000 {
      var line =
        Array(
          [LogFixture.multilog(now), LogFixture.splogger(now), ""].randomElement(using: &dice)!.utf8
        )
        + Array("info msg 1: bytes 2 from <a\0b> qp 3 uid 4".utf8)
      for _ in 0..<3 {
        line[.random(in: line.indices, using: &dice)] = .random(in: 0...255, using: &dice)
      }
      text.take(line.prefix(.random(in: 0...line.count, using: &dice)), at: now)
    }
    let long = Array("delivery 1: failure: ".utf8) + [UInt8](repeating: 0xFF, count: 1 << 20)
    text.take(long[...], at: now)
    #expect(text.collect().statistics.cut >= 1)
    let piece = Array("1795455662.100000+".utf8) + [UInt8](repeating: 65, count: 799)
    var first = piece
    first[17] = UInt8(ascii: " ")
    first.replaceSubrange(18..<18, with: Array("alert: ".utf8))
    text.take(first.prefix(18 + 799), at: now)
    #expect(text.isHolding)
    for _ in 0..<100 { text.take(piece[...], at: now) }
    let found = text.collect()
    #expect(found.observations.count == 1)
    #expect(found.statistics.cut > 50)
    if case .log(.other(let text)) = found.observations.first?.event {
      #expect(text.utf8.count <= LogText.longestLine + 800)
    }
  }
}
