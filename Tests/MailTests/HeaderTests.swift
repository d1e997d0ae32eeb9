import Mail
import Testing

@Suite struct HeaderTests {
  private static func decoded(_ text: String) -> String {
    String(decoding: EncodedWords.decode(Array(text.utf8)), as: UTF8.self)
  }

  @Test(
    "encoded words read as RFC 2047 says, and broken ones stay as they are",
    arguments: [
      ("plain", "plain"),
      ("=?ISO-8859-1?Q?a?=", "a"),
      ("=?ISO-8859-1?Q?a?= b", "a b"),
      ("=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
      ("=?ISO-8859-1?Q?a?=  \t =?ISO-8859-1?Q?b?=", "ab"),
      ("=?ISO-8859-1?Q?a_b?=", "a b"),
      ("=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a =?ISO-8859-2?Q?_b?="),
      ("=?iso-8859-1?q?Andr=E9?= Pirard", "André Pirard"),
      ("=?ISO-8859-15?Q?100_=A4?=", "100 €"),
      ("=?windows-1252?Q?=80_=93x=94?=", "€ “x”"),
      ("=?utf-8?B?w5xiZXJ3ZWlzdW5n?=", "Überweisung"),
      ("=?UTF-8*de?B?w5w=?=", "Ü"),
      ("=?utf-8?B?w5w?=", "Ü"),
      // A character cut in two between two words.
      ("=?utf-8?Q?=C3?= =?utf-8?Q?=9C?=", "Ü"),
      ("=?us-ascii?Q?x=20y?=", "x y"),
      ("=?koi8-r?B?8A==?=", "=?koi8-r?B?8A==?="),
      ("=?utf-8?X?a?=", "=?utf-8?X?a?="),
      ("=?utf-8?Q?a=ZZ?=", "=?utf-8?Q?a=ZZ?="),
      ("=?utf-8?B?!!!?=", "=?utf-8?B?!!!?="),
      ("=?utf-8?Q?open", "=?utf-8?Q?open"),
      ("=?", "=?"), ("", ""), ("=?utf-8?Q??=", ""),
      ("x =?utf-8?Q?a?= =?bad =?utf-8?Q?b?=", "x a =?bad b"),
    ])
  func encodedWords(_ raw: String, _ expected: String) {
    #expect(Self.decoded(raw) == expected)
  }

  @Test("bytes that are not UTF-8 are read as Latin-1 beside encoded words")
  func eightBit() {
    let raw: [UInt8] = [0xDC, 0x62, 0x20] + Array("=?utf-8?Q?=C3=A4?=".utf8)
    #expect(String(decoding: EncodedWords.decode(raw), as: UTF8.self) == "Üb ä")
  }

  @Test("fields are unfolded, found whatever their case, and lines that are none are kept")
  func fields() {
    let header = MessageHeader(
      Array(
        "Subject: one\r\n\t two\r\n   three\nFROM : a@b\nnot a field\nTo: x\nto:y\n\nbody: no\n"
          .utf8))
    #expect(header.text("subject") == "one two three")
    #expect(header.text("from") == "a@b")
    #expect(header.values("To").map { String(decoding: $0, as: UTF8.self) } == ["x", "y"])
    #expect(header.fields.map { header.unfolded($0) }.contains(Array("not a field".utf8)))
    #expect(header.first("body") == nil)
    #expect(header.bodyOffset.map { $0 == header.bytes.count } == true)
    #expect(MessageHeader(Array("Subject: cut".utf8)).bodyOffset == nil)
  }

  @Test(
    "dates are read in the forms that are met",
    arguments: [
      ("Mon, 23 Nov 2026 17:41:04 +0000", "2026-11-23T17:41:04Z"),
      ("23 Nov 2026 17:41:04 -0000", "2026-11-23T17:41:04Z"),
      ("Mon, 23 Nov 2026 17:41 -0530 (IST)", "2026-11-23T23:11:00Z"),
      ("23 Nov 26 17:41:04 EST", "2026-11-23T22:41:04Z"),
      ("23 nov 99 01:02:03 GMT", "1999-11-23T01:02:03Z"),
      ("Mon Nov 23 17:41:04 2026", "2026-11-23T17:41:04Z"),
      ("23-Nov-2026 17:41:04 +0100", "2026-11-23T16:41:04Z"),
      ("29 Feb 2024 00:00:00 +0000", "2024-02-29T00:00:00Z"),
      // The last moment that can be told.
      ("11 Apr 2262 23:47:16 -0100", "2262-04-11T23:47:16Z"),
    ])
  func dates(_ text: String, _ expected: String) {
    #expect(HeaderDate.parse(Array(text.utf8))?.iso8601 == expected)
  }

  @Test(
    "what is no date is none",
    arguments: [
      "", "yesterday", "32 Nov 2026", "29 Feb 2026 00:00", "1 Jan 2026 25:00", "1 Jan 99999",
      "12 Apr 2262",
      "1:2:3:4",
    ])
  func noDates(_ text: String) { #expect(HeaderDate.parse(Array(text.utf8)) == nil) }

  @Test(
    "addresses are found beside names, comments and in lists",
    arguments: [
      ("a@b", ["a@b"]), ("\"x, y@z\" <a@b>, c@d (e@f)", ["a@b", "c@d"]), ("<>", [""]),
      ("Team: a@b, c@d;", ["a@b", "c@d"]), ("\"a b\"@c", ["\"a b\"@c"]), ("<a@b", ["a@b"]),
      ("\"open", []), ("(open", []),
    ])
  func addresses(_ text: String, _ expected: [String]) {
    let found = HeaderAddresses.find(in: Array(text.utf8))
    #expect(found.map { String(decoding: $0, as: UTF8.self) } == expected)
  }

  static let mixed = """
    Content-Type: multipart/mixed; boundary="out er"

    preamble
    --out er
    Content-Type: multipart/alternative; boundary=in

    --in
    Content-Type: text/plain; charset=iso-8859-1
    Content-Transfer-Encoding: quoted-printable

    Gr=FC=DFe=
     !
    --in
    Content-Type: text/html; charset=utf-8
    Content-Transfer-Encoding: base64

    PGI+w5w8L2I+
    --in--
    --out er
    Content-Type: application/pdf; name="=?utf-8?Q?=C3=9Cbersicht.pdf?="
    Content-Disposition: attachment; filename*0*=utf-8''%C3%9Cber; filename*1=sicht.pdf

    JVBERi0=
    --out er--
    epilogue
    """

  @Test("parts are named, measured and their text decoded")
  func parts() {
    let message = Array(Self.mixed.utf8)
    let parts = MIMEStructure(message, header: MessageHeader(message)).parts
    #expect(parts.map(\.number) == ["0", "1", "1.1", "1.2", "2"])
    #expect(
      parts.map(\.type) == [
        "multipart/mixed", "multipart/alternative", "text/plain", "text/html", "application/pdf",
      ])
    #expect(parts[2].text(in: message) == "Grüße !")
    #expect(parts[3].text(in: message) == "<b>Ü</b>")
    #expect(parts[4].name == "Übersicht.pdf")
    #expect(parts[4].isAttachment)
    #expect(parts[4].body.count == 8)
  }

  @Test("hostile bytes are taken without a crash, and no escape byte comes through")
  func hostile() throws {
    let samples = try Sample.messages.map(Sample.bytes) + [Array(Self.mixed.utf8)]
    for seed in 0..<4000 {
      let bytes = Sample.mutated(samples[seed % samples.count], seed: UInt64(seed))
      let header = MessageHeader(bytes)
      for field in header.fields {
        let value = header.value(field)
        let decoded = EncodedWords.decode(value)
        #expect(!Escaping.terminal(decoded).utf8.contains(27))
        _ = HeaderDate.parse(value)
        _ = HeaderAddresses.find(in: value)
      }
      for part in MIMEStructure(bytes, header: header).parts {
        #expect(part.body.upperBound <= bytes.count)
        _ = part.text(in: bytes)
      }
    }
  }

  @Test("what is made to be slow takes linear time")
  func linear() {
    let marks = Array(String(repeating: "=?utf-8?q?a ", count: 20_000).utf8)
    #expect(EncodedWords.decode(marks).count == marks.count)
    _ = HeaderAddresses.find(in: Array(String(repeating: "<\"(", count: 50_000).utf8))
    let boundary = String(repeating: "-", count: 150)
    let body = String(repeating: "--\(boundary)\n", count: 3000)
    let message = Array("Content-Type: multipart/mixed; boundary=\(boundary)\n\n\(body)".utf8)
    #expect(MIMEStructure(message, header: MessageHeader(message)).parts.count <= 1001)
  }
}
