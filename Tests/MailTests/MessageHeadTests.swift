import Mail
import Testing

@Suite("What the head of a message tells")
struct MessageHeadTests {
  @Test("an authenticated relay names client, HELO and user")
  func network() throws {
    let head = try Sample.head("01-relay-auth-deferred/mess/1412638")
    #expect(head.source == .network(client: "127.66.6.6", helo: "laptop", user: "alice"))
    #expect(head.pid == 13274)
    #expect(String(decoding: head.subject, as: UTF8.self) == "flood 0")
    #expect(!head.isList && !head.isCut)
  }

  @Test("without authentication there is no user")
  func anonymous() throws {
    #expect(
      try Sample.head("08-todo/mess/1412801").source
        == .network(client: "127.2.2.2", helo: "client.example", user: nil))
  }

  @Test("a local script is known by its uid, a list by its marks")
  func local() throws {
    #expect(try Sample.head("02-mixed-local-remote-bounce/mess/1412657").source == .uid(33))
    let list = try Sample.head("06-verp-list/mess/1412769")
    #expect(list.source == .uid(0) && list.isList)
  }

  @Test("a bounce tells the original's sender, client and failures")
  func bounce() throws {
    let origin = Source.Origin(
      sender: Address("victim@down1.example"),
      source: .network(client: "127.9.8.7", helo: "forger.example", user: nil), failedRecipients: 1)
    let head = try Sample.head("03-single-bounce-deferred/mess/1412689")
    #expect(head.source == .bounce(original: origin))
    #expect(!head.isCut)
  }

  @Test("a double bounce is resolved to the innermost message")
  func doubleBounce() throws {
    #expect(
      try Sample.head("04-double-bounce-to-postmaster/mess/1412705").source
        == .bounce(
          original: .init(
            sender: Address("badvictim@remote.example"),
            source: .network(client: "127.9.8.6", helo: "forger2.example", user: nil))))
    #expect(
      try Sample.head("05-double-bounce-of-inbound-backscatter/mess/1412753").source
        == .bounce(
          original: .init(
            sender: .null, source: .network(client: "127.9.8.5", helo: "mx.far.example", user: nil))
        ))
  }

  @Test(
    "second Received line",
    arguments: [
      ("unknown (HELO h) (bob@x@2001:db8::7)", "2001:db8::7", "h", "bob@x"),
      ("mail.example (192.0.2.9)", "192.0.2.9", nil, nil),
      ("mail.example (bob@192.0.2.9)", "192.0.2.9", nil, "bob"),
      ("unknown (HELO [IPv6:::1]) (::1)", "::1", "[IPv6:::1]", nil),
      ("unknown (HELO ) (::1)", "::1", "", nil),
      ("unknown", "unknown", nil, nil), ("unknown ()", "unknown", nil, nil),
      ("(((((", "unknown", nil, nil), ("", "unknown", nil, nil),
    ] as [(String, String, String?, String?)])
  func second(_ line: String, _ client: String, _ helo: String?, _ user: String?) {
    let text =
      "Received: (qmail 5 invoked from network); 23 Nov 2026 17:41:03 -0000\nReceived: from \(line)\n  by mx\n\n"
    #expect(
      MessageHead(Array(text.utf8)).source == .network(client: client, helo: helo, user: user))
  }

  @Test("a second Received line is believed only after from network")
  func forged() {
    let lie = "Received: from unknown (HELO h) (bob@192.0.2.9)\n\n"
    for (first, source) in [
      ("Received: (qmail 5 invoked by uid 33); x\n", Source.uid(33)),
      ("Received: (qmail 5 invoked by alias); x\n", .alias), ("", .unknown),
      ("Received: (qmail 5 invoked by uid 99999999999); x\n", .unknown),
      ("Received: (qmail x invoked from network); x\n", .unknown),
      (" Received: (qmail 5 invoked from network); x\n", .unknown),
    ] {
      #expect(MessageHead(Array((first + lie).utf8)).source == source)
    }
  }

  private func bounce(_ report: String, returnPath: String, copy: String) -> Source {
    let text = """
      Received: (qmail 9 invoked for bounce); 23 Nov 2026 17:41:06 -0000
      Subject: failure notice

      Hi. This is the qmail-send program at mx.test.
      I'm afraid I wasn't able to deliver your message to the following addresses.

      \(report)--- Below this line is a copy of the message.

      Return-Path: <\(returnPath)>
      \(copy)
      """
    return MessageHead(Array(text.utf8)).source
  }

  @Test("a remote server's report cannot forge the copy or further failures")
  func hostileReport() {
    // addbounce leaves no empty line inside a report, so this is the most that a server can do.
    let report = """
      <a@b.example>:
      550 no
      --- Below this line is a copy of the message.
      /
      Return-Path: <innocent@example.com>
      Received: (qmail 1 invoked by uid 7); x
      <c@d.example>:


      """
    #expect(
      bounce(
        report, returnPath: "real@x.example", copy: "Received: (qmail 3 invoked by uid 33); x\n\n")
        == .bounce(
          original: .init(sender: Address("real@x.example"), source: .uid(33), failedRecipients: 1))
    )
  }

  @Test("every failed recipient is counted, quoted senders are unquoted")
  func counted() {
    #expect(
      bounce(
        "<a@b>:\nno\n\n<c@d>:\nno\n\n<e@f>:\n\n", returnPath: "\"a \\\"b\\\\\"@x.example",
        copy: "Received: (qmail 3 invoked by alias); x\n\n")
        == .bounce(
          original: .init(
            sender: Address("a \"b\\@x.example"), source: .alias, failedRecipients: 3)))
  }

  @Test("a bounce whose copy is not reached asks for more")
  func cutBounce() throws {
    let whole = try Sample.bytes("03-single-bounce-deferred/mess/1412689")
    for length in stride(from: 230, to: 700, by: 7) {
      let head = MessageHead(Array(whole.prefix(length)))
      #expect(head.source.isBounce)
      let isWhole = head.source == MessageHead(whole).source
      #expect(head.isCut != isWhole, "\(length)")
    }
  }

  @Test("subjects are unfolded and bounded, marks are found in any case")
  func fields() {
    func head(_ text: String) -> MessageHead { MessageHead(Array(text.utf8)) }
    let folded = head(
      "From: a\r\nsUBJECT:  one\r\n two\r\n\tthree \r\nTo: b\r\n\r\nSubject: no\r\n")
    #expect(String(decoding: folded.subject, as: UTF8.self) == "one two\tthree")
    #expect(head("Subject: " + String(repeating: "x", count: 5000) + "\n\n").subject.count == 998)
    for mark in ["LIST-ID: <x>", "mailing-list: contact", "Precedence:  Bulk ", "precedence: list"]
    {
      #expect(head("A: b\n\(mark)\n\n").isList)
    }
    for other in ["Precedence: junk", "X-List-Id: x", "Precedence: listing"] {
      #expect(!head("A: b\n\(other)\n\nList-Id: x\n").isList)
    }
  }

  @Test("no bytes break it", arguments: Sample.messages)
  func hostile(_ path: String) throws {
    let bytes = try Sample.bytes(path)
    var longest = 0
    for seed in 1...700 {
      longest = max(longest, MessageHead(Sample.mutated(bytes, seed: UInt64(seed))).subject.count)
    }
    #expect(longest <= 998)
  }

  @Test("time is linear in hostile input")
  func linear() {
    for unit in [
      "<a>:\n\n", "Subject:\n", "(", "\n", "Received: (qmail 1 invoked for bounce);\n\n",
    ] {
      let start = ContinuousClock.now
      let text =
        "Received: (qmail 9 invoked for bounce); x\n\n"
        + String(repeating: unit, count: (1 << 18) / unit.utf8.count)
      _ = MessageHead(Array(text.utf8))
      #expect(ContinuousClock.now - start < .seconds(1))
    }
  }
}
