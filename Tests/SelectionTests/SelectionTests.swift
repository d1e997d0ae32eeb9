import Mail
import Selection
import Testing

@Suite struct SelectionTests {
  private static let now = Timestamp(seconds: 1_800_000_000)
  private static let header = MessageHeader(
    Array(
      """
      From: =?iso-8859-1?Q?J=F6rg_B?= <joerg@spam.example>
      To: "Joe, Senior" <joe@mx.test>, other@else.example
      Subject: =?utf-8?B?w5xiZXJ3?=
       =?utf-8?B?ZWlzdW5n?= jetzt
       pr=C3=BCfen
      Date: Mon, 23 Nov 2026 17:41:04 +0100
      X-Mailer: Bulk 1.0

      """.utf8))

  private static func selection(_ change: (inout Selection) throws -> Void) rethrows -> Selection {
    var selection = Selection()
    try change(&selection)
    return selection
  }

  @Test(
    "header conditions look at decoded, raw and unfolded values and at single addresses",
    arguments: [
      ("from", "Jörg", true), ("from", "JÖRG", true), ("from", "j=f6rg", true),
      ("from", "*@spam.example", true), ("from", "*@mx.test", false),
      ("from", "/<joerg@/", true), ("to", "*@mx.test", true), ("to", "joe@mx.test", true),
      ("to", "*@else.example", true), ("cc", "", true), ("to", "", false),
      ("subject", "überweisung jetzt", true), ("subject", "ÜBERWEISUNG", true),
      ("subject", "=?utf-8?B?w5xiZXJ3?= =?utf-8?B?ZWlzdW5n?=", true),
      ("subject", "*jetzt*", true), ("subject", "*jetzt", false), ("subject", "/^.berw/", false),
      ("subject", "/jetzt pr=C3/", true), ("header", "x-mailer: bulk", true),
      ("header", "X-Mailer: /^Bulk [0-9.]+$/", true), ("header", "X-Mailer: /^ulk/", false),
      ("header", "X-None:", true), ("header", "X-Mailer:", false), ("header", "X-None: *", false),
      ("header", "/^X-Mailer: Bulk/", true), ("header", "/mailer: bulk/i", true),
    ])
  func headerConditions(_ field: String, _ pattern: String, _ expected: Bool) throws {
    let selection = try Self.selection { selection in
      switch field {
      case "from": selection.from = [try Pattern(pattern)]
      case "to": selection.to = [try Pattern(pattern)]
      case "cc": selection.cc = [try Pattern(pattern)]
      case "subject": selection.subjects = [try Pattern(pattern)]
      default: selection.headers = [try HeaderCondition(pattern)]
      }
    }
    #expect(selection.needsHeader && selection.needsMessage && !selection.isEmpty)
    #expect(selection.matches(Self.header) == expected)
  }

  @Test(
    "dates are bounds or a day, in UTC",
    arguments: [
      (">2026-11-23", true), (">2026-11-23T16:42", false), ("<2026-11-24", true),
      ("<2026-11-23T16:41", false), ("2026-11-23", true), ("2026-11-22", false),
      ("2262-04-11", false),
    ])
  func dates(_ bound: String, _ expected: Bool) throws {
    let condition = try #require(DateCondition(bound))
    #expect(Self.selection { $0.dates = [condition] }.matches(Self.header) == expected)
    #expect(!Self.selection { $0.dates = [condition] }.matches(MessageHeader([])))
  }

  @Test(
    "a bound that is no date is refused", arguments: ["", ">", "23.11.2026", "2026-13-01", ">x"])
  func noDates(_ bound: String) { #expect(DateCondition(bound) == nil) }

  @Test("all conditions must hold, and those on the envelope need no message")
  func combined() throws {
    let entry = Entry(
      identity: EntryIdentity(id: 7, birth: Self.now - .seconds(3600)), size: 2000,
      sender: Address("alice@mx.test"),
      source: .network(client: "198.18.0.5", helo: nil, user: "alice"),
      remote: [
        Recipient(address: Address("a@x.example"), isDone: true),
        Recipient(address: Address("b@y.example")),
      ])
    var selection = try Self.selection {
      $0.senders = [try Pattern("*@mx.test")]
      $0.recipients = [try Pattern("*@y.example")]
      $0.olderThan = .seconds(1800)
      $0.doneState = .some
    }
    #expect(selection.mayMatch(entry, now: Self.now))
    #expect(!selection.needsMessage && selection.needsRecipients)
    selection.clients = [try #require(ClientRange("198.18.0.0/24"))]
    #expect(selection.needsMessage && selection.matches(entry, now: Self.now))
    for state in [Selection.DoneState.none, .all] {
      selection.doneState = state
      #expect(!selection.matches(entry, now: Self.now))
    }
    selection.doneState = nil
    selection.isUnprocessed = true
    #expect(!selection.matches(entry, now: Self.now))
    selection.isUnprocessed = false
    selection.isMember = { $0.identity.id == 8 }
    #expect(!selection.matches(entry, now: Self.now))
    #expect(Selection().isEmpty)
  }

  private static func finds(_ patterns: [String], _ message: String, step: Int = 7) throws -> Bool {
    let bytes = Array(message.utf8)
    let header = MessageHeader(bytes)
    let selection = try selection { $0.bodies = try patterns.map { try Pattern($0) } }
    let search = try #require(selection.bodySearch(header))
    var at = try #require(header.bodyOffset)
    while at < bytes.count {
      let end = min(at + step, bytes.count)
      if !search.take(bytes.span.extracting(at..<end)) { break }
      at = end
    }
    return search.finish()
  }

  @Test("bodies are searched across pieces, raw and decoded")
  func bodies() throws {
    let plain = "Subject: x\n\none two three\nfour"
    #expect(try Self.finds(["TWO three"], plain))
    #expect(try Self.finds(["/e\\nfour$/", "one"], plain))
    #expect(try !Self.finds(["one", "subject"], plain))
    #expect(try Self.finds(["*two*"], plain))
    let encoded = """
      Content-Type: text/plain; charset=utf-8
      Content-Transfer-Encoding: base64

      R2V3aW5uOiDDnGJlcndlaXN1bmc=
      """
    #expect(try Self.finds(["überweisung"], encoded))
    #expect(try Self.finds(["R2V3aW5"], encoded))
    #expect(try !Self.finds(["Content-Type"], encoded))
    #expect(try Self.finds(["/Gewinn: /", "R2V3"], encoded))
  }

  @Test("a search in pieces finds what a search in one finds")
  func pieces() throws {
    let text = Array("abababcababab\nxyzzy".utf8)
    for pattern in ["ababc", "/c(ab)+\\nx/", "/^ab/", "/zzy$/", "*zz*", "q", "/b{2}/"] {
      let whole = try Pattern(pattern).matchesWithin(text)
      for step in 1...text.count {
        let search = try Pattern(pattern).search()
        for start in stride(from: 0, to: text.count, by: step) {
          search.take(text.span.extracting(start..<min(start + step, text.count)))
        }
        search.finish()
        #expect(search.isFound == whole, "\(pattern) by \(step)")
      }
    }
  }
}
