import Foundation
import Testing

@testable import Watchdog
@testable import qwarden

@Suite struct TopFrameTests {
  private static func row(
    _ type: String, _ value: String, _ messages: Int, failed: Int = 0, delivered: Int = 0,
    waiting: Int = 0, incident: Int? = nil
  ) -> TopReport.Row {
    TopReport.Row(
      type: type, value: value, messages: messages, recipients: messages * 2, failed: failed,
      delivered: delivered, waiting: waiting, incident: incident)
  }

  static func report(storms: Int = 2, rows: Int = 30) -> TopReport {
    var queue = StatusReport.Queue()
    queue.messages = 240
    queue.unprocessed = 3
    queue.local = 12
    queue.remote = 228
    queue.bouncing = 9
    queue.doneOnly = 40
    queue.senderIsRunning = true
    var status = StatusReport(
      version: "0.1.0", pid: 1, started: 1_800_000_000, written: 1_800_010_000, mode: "enforce",
      qmail: "/var/qmail", troubles: [], notes: [], queue: queue, lastLook: .init(), storms: [],
      activeBlocks: 1, quarantined: 199, quarantinePending: 12)
    status.log = .init()
    let all = [
      TopReport.Storm(
        incident: 7, kind: "relay-sender", began: 1_800_009_950, lastSeen: 1_800_009_999,
        messages: 480, failed: 240, delivered: 210, waiting: 30,
        offenders: ["alice@mx.test", "alice", "198.18.66.6"], victims: [], blocks: 1,
        quarantined: 199, held: nil),
      TopReport.Storm(
        incident: 6, kind: "backscatter-in", began: 1_800_009_000, lastSeen: 1_800_009_500,
        messages: 59, failed: 30, delivered: 20, waiting: 0, offenders: [],
        victims: ["mx.test"], blocks: 0, quarantined: 0, held: "mode is observe"),
    ]
    return TopReport(
      status: status, time: 1_800_010_000, window: 300,
      now: .init(arrivals: 30.24, deliveries: 12, failures: 15.4, deferrals: 2.1),
      minute: .init(arrivals: 10, deliveries: 8, failures: 1, deferrals: nil),
      senders: [
        row("sender", "alice@mx.test", 480, failed: 240, delivered: 210, waiting: 30, incident: 7),
        row("sender", "", 61, failed: 2, delivered: 40),
      ]
        + (0..<rows).map {
          row("sender", "user\($0)@mx.test", 40 - $0, failed: $0 % 3, delivered: 30 - $0)
        },
      sources: [
        row("client", "198.18.66.6", 480, failed: 240, delivered: 210, waiting: 30, incident: 7),
        row("user", "alice", 480, failed: 240, delivered: 210, waiting: 30, incident: 7),
        row("uid", "33", 5),
      ],
      storms: Array(all.prefix(storms)),
      lengths: (0..<100).map { $0 < 60 ? 20 + $0 % 5 : 20 + ($0 - 60) * 5 }, step: 5)
  }

  private static func frame(_ width: Int, _ height: Int?) -> TopFrame {
    var frame = TopFrame()
    frame.width = width
    frame.height = height
    return frame
  }

  @Test(
    "no line is wider and no picture higher than the screen, whatever the size and the names",
    arguments: [(80, 24), (120, 40), (40, 10), (20, 5), (200, 60), (1, 1), (81, 12), (117, 33)])
  func fits(_ width: Int, _ height: Int) {
    let names = [
      String(repeating: "x", count: 2000), "\u{1B}[2J\u{1B}]0;owned\u{7}@x",
      "名前名前名前名前名前名前名前名前名前名前名前@例え.jp",
      "e\u{301}\u{301}\u{301}\u{301}@x", "a\nb\rc\td@x", "\u{202E}abc", "👩‍👩‍👧‍👦@x",
    ]
    for storms in 0...2 {
      var report = Self.report(storms: storms)
      for (place, name) in names.enumerated() {
        report.senders[place].value = name
        report.sources.append(Self.row("user", name, 7, incident: 12345))
      }
      if storms > 0 { report.storms[0].offenders = names }
      report.status.troubles = [.init(kind: "queue", what: "no queue", why: names[1], since: 0)]
      for isUnicode in [true, false] {
        for isColoured in [true, false] {
          var frame = Self.frame(width, height)
          frame.isUnicode = isUnicode
          frame.style = Style(isColoured: isColoured)
          let lines = frame.lines(report)
          #expect(lines.count == height)
          for line in lines {
            let plain = line.replacing(#/\u{1B}\[[0-9]+m/#, with: "")
            #expect(TextWidth.of(plain) <= width)
            #expect(
              !plain.unicodeScalars.contains {
                $0.value < 0x20 || $0.value == 0x7F || $0.value == 0x202E
              })
            if !isUnicode { #expect(plain.utf8.allSatisfy { $0 < 0x7F }) }
          }
        }
      }
    }
  }

  @Test("80×24 shows storms, senders and sources at once")
  func ordinary() {
    let lines = Self.frame(80, 24).lines(Self.report())
    #expect(lines.joined(separator: "\n") == Self.golden80)
  }

  @Test("120×40 shows more, the tables side by side")
  func wide() {
    let lines = Self.frame(120, 40).lines(Self.report())
    #expect(lines.joined(separator: "\n") == Self.golden120)
  }

  @Test("a narrow screen keeps names and shares of failures")
  func narrow() {
    let lines = Self.frame(44, 20).lines(Self.report(storms: 1))
    #expect(lines.joined(separator: "\n") == Self.golden44)
  }

  @Test("the order of rows follows the key, and does not change between equals")
  func order() {
    var report = Self.report(storms: 0)
    report.senders = [
      Self.row("sender", "a@x", 9, failed: 1), Self.row("sender", "b@x", 9, failed: 5),
      Self.row("sender", "c@x", 2, waiting: 7),
    ]
    func names(_ order: TopFrame.Order, _ report: TopReport) -> [String] {
      var frame = Self.frame(80, 24)
      frame.order = order
      return frame.lines(report).compactMap { line in
        line.wholeMatch(of: #/([abc])@x .*/#).map { String($0.1) }
      }
    }
    #expect(names(.messages, report) == ["a", "b", "c"])
    #expect(names(.failed, report) == ["b", "a", "c"])
    #expect(names(.waiting, report) == ["c", "a", "b"])
    report.senders.reverse()
    #expect(names(.messages, report) == ["a", "b", "c"])
  }

  @Test("an old picture says that it is old")
  func old() {
    var frame = Self.frame(80, 24)
    frame.warning = "no answer from the daemon since 7s: /s/socket"
    #expect(
      frame.lines(Self.report()).contains { $0.hasPrefix("no answer from the daemon since 7s") })
  }

  private static let golden80 = """
    qwarden  enforce  up 2h  /var/qmail                                 10:46:40 UTC
    200 waiting  3 in todo  12 local  228 remote  9 bouncing  40 leaving
    ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▂▂▂▂▂▃▃▃▃▃▃▄▄▄▄▄▅▅▅▅▅▆▆▆▆▆▆▇▇▇▇▇██████ max 215, 4m
                    arrived   delivered      failed    deferred
    a second           30.2        12.0        15.4         2.1
    a minute            600         480          60      no log
    blocks 1   quarantine 199, 12 to come

    #7 relay-sender  alice@mx.test, alice, 198.18.66.6                      storming
       since 50s, 480 messages, 53 % failed: blocked; 199 set aside
    #6 backscatter-in  to mx.test                                           quiet 8m
       since 16m, 59 messages, 60 % failed: held: mode is observe

    SENDERS                                messages recipients     failed    waiting
    alice@mx.test #7                            480        960       53 %         30
    <>                                           61        122        4 %          0
    user0@mx.test                                40         80        0 %          0
    user1@mx.test                                39         78        3 %          0

    SOURCES, 5m                            messages recipients     failed    waiting
    client 198.18.66.6 #7                       480        960       53 %         30
    user alice #7                               480        960       53 %         30
    uid 33                                        5         10          -          0
    q quit   s order   space freeze
    """
  private static let golden120 = """
    qwarden  enforce  up 2h  /var/qmail                                                                         10:46:40 UTC
    200 waiting  3 in todo  12 local  228 remote  9 bouncing  40 leaving
                                                                                       ▁▁▂▂▃▃▄▅▅▆▆▇▇██
                                                                         ▁▁▂▃▃▄▄▅▅▆▆▇█████████████████
    ▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▄▄▅▆▆▇▇███████████████████████████████ max 215, 8m
                    arrived   delivered      failed    deferred
    a second           30.2        12.0        15.4         2.1
    a minute            600         480          60      no log
    blocks 1   quarantine 199, 12 to come

    #7 relay-sender  alice@mx.test, alice, 198.18.66.6                                                              storming
       since 50s, 480 messages, 53 % failed: blocked; 199 set aside
    #6 backscatter-in  to mx.test                                                                                   quiet 8m
       since 16m, 59 messages, 60 % failed: held: mode is observe

    SENDERS                     messages     failed    waiting   SOURCES, 5m                 messages     failed    waiting
    alice@mx.test #7                 480       53 %         30   client 198.18.66.6 #7            480       53 %         30
    <>                                61        4 %          0   user alice #7                    480       53 %         30
    user0@mx.test                     40        0 %          0   uid 33                             5          -          0
    user1@mx.test                     39        3 %          0
    user2@mx.test                     38        6 %          0
    user3@mx.test                     37        0 %          0
    user4@mx.test                     36        3 %          0
    user5@mx.test                     35        7 %          0
    user6@mx.test                     34        0 %          0
    user7@mx.test                     33        4 %          0
    user8@mx.test                     32        8 %          0
    user9@mx.test                     31        0 %          0
    user10@mx.test                    30        4 %          0
    user11@mx.test                    29        9 %          0
    user12@mx.test                    28        0 %          0
    user13@mx.test                    27        5 %          0
    user14@mx.test                    26       11 %          0
    user15@mx.test                    25        0 %          0
    user16@mx.test                    24        6 %          0
    user17@mx.test                    23       13 %          0
    user18@mx.test                    22        0 %          0
    user19@mx.test                    21        8 %          0
    user20@mx.test                    20       16 %          0
    q quit   s order   space freeze
    """
  private static let golden44 = """
    qwarden  enforce  up 2h  /var/q…10:46:40 UTC
    200 waiting  3 in todo  12 local  228 remote
    ▅▅▅▅▅▆▆▆▆▆▆▇▇▇▇▇██████ max 215, 1m
              arriveddelivered   failed deferred
    a second     30.2     12.0     15.4      2.1
    a minute      600      480       60   no log
    blocks 1   quarantine 199, 12 to come

    #7 relay-sender  alice@mx.test, a…  storming
       since 50s, 480 messages, 53 % failed: bl…

    SENDERS                  messages     failed
    alice@mx.test #7              480       53 %
    <>                             61        4 %
    user0@mx.test                  40        0 %

    SOURCES, 5m              messages     failed
    client 198.18.66.6 #7         480       53 %
    user alice #7                 480       53 %
    q quit   s order   space freeze
    """
}
