import Ledger
import Mail
import QmailQueue
import Selection
import Synchronization
import Testing

@testable import qwarden

@Suite struct ListingTests {
  private static let birth = Timestamp(seconds: 1_795_455_663)
  private static let now = birth + .seconds(7200)
  private static let plain = Style(isColoured: false)

  private func text() -> EntryText { EntryText(now: Self.now, style: Self.plain) }

  @Test("rows are aligned and say what the queue says")
  func rows() throws {
    let messages = try SampleQueue().messages(born: Self.birth)
    let rows = text().heading + messages.map { text().row($0.entry) }.joined()
    #expect(
      rows == """
               ID  AGE  SIZE    LEFT  SENDER                           FROM                     TO
          1412638   2h  1.7k     1/1  <alice@mx.test>                  alice@127.66.6.6         temp1@remote.example
          1412657   2h  1.6k     2/6  <www-data@mx.test>               uid 33                   defer@mx.test and 1 more (bouncing)
          1412689   2h  2.2k     1/1  <>                               bounce to <victim@down1.example>, from 127.9.8.7 victim@down1.example
          1412705   2h  2.7k     1/1  <#@[]>                           bounce to <badvictim@remote.example>, from 127.9.8.6 postmaster@mx.test
          1412753   2h  2.1k     1/1  <#@[]>                           bounce to <>, from 127.9.8.5 postmaster@mx.test
          1412769   2h  1.5k     1/7  <joe-return-7-@mx.test-@[]>      uid 0                    v@down.example (bouncing)
          1412785   2h  1.6k     1/1  <>                               alice@127.3.3.3          temp.user@remote2.example
          1412801   2h  1.7k     1/1  <someone@else.example>           127.2.2.2                joe@mx.test (unprocessed)

        """)
  }

  @Test("of a bounce in quarantine no sender is told whose is not known")
  func bounceInQuarantine() {
    let client = Source.network(client: "127.9.8.7", helo: "x", user: nil)
    let known = SourceSummary(
      .bounce(original: .init(sender: Address("victim@down1.example"), source: client)))
    #expect(known.text == "bounce, from 127.9.8.7")
    #expect(
      known.json.text
        == "{\"via\":\"bounce\",\"original\":{\"via\":\"\(client.via)\",\"client\":\"127.9.8.7\"}}")
    let unknown = SourceSummary(.bounce(original: nil))
    #expect(unknown.text == "bounce" && unknown.json.text == "{\"via\":\"bounce\"}")
    #expect(SourceSummary(client).text == "127.9.8.7")
  }

  @Test("a blank stands between columns, however wide their values")
  func wide() {
    var entry = Entry(
      identity: EntryIdentity(id: 12_345_678_901, birth: Timestamp(seconds: -7e9)), size: 1)
    entry.size = 123_456_000_000_000_000
    entry.remote = Array(repeating: Recipient(address: Address("a@b"), isDone: false), count: 12345)
    let row = text().row(entry).split(separator: " ")
    #expect(row.prefix(4) == ["12345678901", "101799d", "123456000G", "12345/12345"])
  }

  @Test("NO_COLOR takes the colours away unless it is empty, and so does a terminal without any")
  func colours() {
    func isColoured(_ isTerminal: Bool, _ environment: [String: String]) -> Bool {
      Style.usual(isTerminal: isTerminal) { environment[$0] }.isColoured
    }
    #expect(isColoured(true, ["TERM": "xterm"]))
    #expect(isColoured(true, ["TERM": "xterm", "NO_COLOR": ""]))
    #expect(!isColoured(true, ["TERM": "xterm", "NO_COLOR": "1"]))
    #expect(!isColoured(true, ["TERM": "dumb"]) && !isColoured(true, [:]))
    #expect(!isColoured(false, ["TERM": "xterm"]))
  }

  @Test("--headers shows what qmHandle shows, decoded")
  func headers() throws {
    let first = try #require(try SampleQueue().messages(born: Self.birth).first)
    #expect(
      text().block(first.entry, first.header) == """
        1412638
          From:    alice@mx.test
          To:      temp1@remote.example
          Subject: flood 0
          Date:    Mon, 23 Nov 2026 17:41:03 +0000
          Size:    1668 bytes

        """)
    var line = JSONLine()
    line.add(first.header)
    #expect(
      line.text
        == #"{"from":"alice@mx.test","to":"temp1@remote.example","cc":null,"subject":"flood 0","date":"Mon, 23 Nov 2026 17:41:03 +0000"}"#
    )
  }

  private func view(_ read: SampleQueue.Read, isColoured: Bool = false) -> MessageView {
    MessageView(
      entry: read.entry, header: read.header, message: read.bytes, isCut: false, now: Self.now,
      style: Style(isColoured: isColoured))
  }

  @Test("show prints envelope, recipients with their state, decoded fields, header and text")
  func show() throws {
    let bounce = try #require(
      try SampleQueue().messages(born: Self.birth).first { $0.entry.identity.id == 1_412_657 })
    let text = view(bounce).text
    #expect(
      text.hasPrefix(
        """
        Message 1412657
        Sender:   <www-data@mx.test>
        Source:   uid 33
        Since:    2026-11-23T17:41:03Z (2h)
        Size:     1561 bytes
        State:    has failed recipients
        To try:   2 of 6 recipients
                local   defer@mx.test
          done  local   nobody@mx.test
          done  local   joe@mx.test
                remote  temp1@remote.example
          done  remote  bad1@remote.example
          done  remote  ok@remote.example

        From:     www-data@mx.test
        To:       temp1@remote.example
        Subject:  flood 0
        Date:     Mon, 23 Nov 2026 17:41:04 +0000  (2026-11-23T17:41:04Z)

        --- header
        Received: (qmail 13372 invoked by uid 33); 23 Nov 2026 17:41:04 -0000
        From: www-data@mx.test
        To: temp1@remote.example
        Subject: flood 0
        Message-ID: <0.1795455664@flood.test>
        Date: Mon, 23 Nov 2026 17:41:04 +0000
        --- text
        xxxxxxxxxx
        """))
    #expect(!text.utf8.contains(27))
    #expect(view(bounce, isColoured: true).text.utf8.contains(27))
  }

  @Test("control bytes, overrides and broken text are visible; tabs and line ends stay")
  func hostileText() {
    let bytes =
      Array(
        "From: \u{1B}]0;x\u{7}\nSubject: =?utf-8?B?G1szMW0=?= \u{202E}x\n\na\tb\r\n\u{1B}[2Jc\u{9B}\u{200B}\n"
          .utf8)
    let read = SampleQueue.Read(
      entry: Entry(
        identity: EntryIdentity(id: 1, birth: Self.birth), sender: Address("\u{1B}[31m@x"),
        unrouted: [Address("a\u{202E}b@c")], isUnprocessed: true),
      header: MessageHeader(bytes), bytes: bytes)
    let shown = view(read).text
    #expect(shown.contains("Subject:  \\x1B[31m \\u{202E}x\n"))
    #expect(shown.hasSuffix("--- text\na\tb\n\\x1B[2Jc\\u{9B}\\u{200B}\n"))
    for text in [shown, text().row(read.entry), text().block(read.entry, read.header)] {
      #expect(text.unicodeScalars.allSatisfy { $0 == "\n" || $0 == "\t" || $0.value >= 32 })
      #expect(!text.unicodeScalars.contains { (0x7F...0x9F).contains($0.value) })
      #expect(!text.unicodeScalars.contains("\u{202E}"))
    }
  }

  @Test("mutated messages are shown and listed without a crash or a control byte")
  func mutations() throws {
    let messages = try SampleQueue().messages(born: Self.birth)
    var state: UInt64 = 99
    func random(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % max(bound, 1)
    }
    let spice = Array("\u{1B}\n\r\0=?_\";:-\u{9B}".utf8) + [0xFF, 0x80]
    for round in 0..<1500 {
      var read = messages[round % messages.count]
      read.bytes = Array(read.bytes.prefix(900))
      for _ in 0...random(12) {
        read.bytes[random(read.bytes.count)] = spice[random(spice.count)]
      }
      read.header = MessageHeader(read.bytes)
      read.entry.sender = Address(read.bytes.prefix(30))
      for text in [
        view(read).text, text().row(read.entry), text().block(read.entry, read.header),
        view(read).json.text,
      ] {
        #expect(!text.utf8.contains { $0 < 32 && $0 != 10 && $0 != 9 || $0 == 127 })
      }
    }
  }

  @Test("counts are sorted and aligned, ages by age, and the table is bounded")
  func counts() throws {
    let messages = try SampleQueue().messages(born: Self.birth)
    func table(_ key: CountKey, limit: Int = 100) -> CountTable {
      var table = CountTable(limit: limit)
      for message in messages {
        for value in key.values(of: message.entry, now: Self.now) { table.add(value) }
      }
      return table
    }
    #expect(
      table(.kind).text(by: .kind, Self.plain) == """
        MESSAGES  SHARE                            KIND
               3  37.5%  ########################  mail
               2  25.0%  ################          double bounce
               1  12.5%  ########                  bounce from elsewhere
               1  12.5%  ########                  bounce of ours
               1  12.5%  ########                  list

        """)
    #expect(
      table(.client).json(by: .client).map(\.text) == [
        #"{"client":null,"what":"bounce","messages":3}"#,
        #"{"client":null,"what":"uid","messages":2}"#,
        #"{"client":"127.2.2.2","messages":1}"#,
        #"{"client":"127.3.3.3","messages":1}"#,
        #"{"client":"127.66.6.6","messages":1}"#,
      ])
    #expect(table(.recipientDomain).total == 9)
    #expect(table(.age).rows().map(\.count) == [8])
    let bounded = table(.sender, limit: 2)
    #expect(bounded.rows().count == 2 && bounded.others > 0 && bounded.total == 8)
  }

  @Test("a look applies header and body conditions while the queue is read")
  func looks() throws {
    let queue = try SampleQueue()
    var selection = Selection()
    selection.from = [try Pattern("MAILER-DAEMON*")]
    selection.bodies = [try Pattern("/original spam [23]/")]
    let listed = Mutex<[UInt64]>([])
    try QueueScanner(layout: QueueLayout.read(qmail: queue.qmail)).forEach(
      selection.look([], now: Self.now) { entry, _ in entry.identity.id }
    ) { findings in
      listed.withLock { $0 += findings.items }
      return true
    }
    #expect(listed.withLock { $0 } == [1_412_705])
  }
}
