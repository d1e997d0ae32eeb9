import Files
import Glibc
import Mail
import Testing

@testable import QmailControl

@Suite("Dialects of badmailfrom")
struct DialectTests {
  /// Senders that each dialect must write, and how.
  @Test(
    "each dialect's line for a sender",
    arguments: [
      (BadmailfromDialect.stock, "Alice@MX.test", "alice@mx.test"),
      (.stock, "a*b+c@mx.test", "a*b+c@mx.test"), (.stock, "@spam.example", "@spam.example"),
      (.ldap, "alice@mx.test", "alice@mx.test"), (.qsmtp, "@spam.example", "@spam.example"),
      (.indimail, "a*b?c@mx.test", "a\\*b\\?c@mx.test"),
      (.sqmail, "alice@mx.test", "alice@mx.test"),
      (.sqmail, "a*@mx.test", "a\\*@mx.test"),
      (.regex, "alice@mx.test", "^alice@mx\\.test$"),
      (.regex, "a.b+c{1}|d$e^f*g?@mx.test", "^a\\.b\\+c\\{1}\\|d\\$e\\^f\\*g\\?@mx\\.test$"),
      (.regex, "@spam.example", "^.+@spam\\.example$"),
    ])
  func entries(dialect: BadmailfromDialect, sender: String, line: String) throws {
    #expect(try dialect.entry(for: Address(sender)) == Array(line.utf8))
  }

  @Test(
    "senders that no dialect dares to write",
    arguments: [
      "", "#@[]", "alice", "@", "alice@", "a@b@c", "!alice@mx.test", "?alice@mx.test",
      "~alice@mx.test", "#alice@mx.test", "-alice@mx.test", "al ice@mx.test", "alice@mx test",
      "alice@[192.0.2.1]", "\"a b\"@mx.test", "a\\b@mx.test", "a[b]@mx.test", ".a@mx.test",
      "a.@mx.test", "a..b@mx.test", "alice@mx..test", "alice@.mx.test", "alice@mx.test.",
      "alice@-mx.test", "alice@mx.test+", "alice@mx.test-", "alice@mx.test=", "alïce@mx.test",
      "a\n@mx.test", "a\0b@mx.test", "a\r@mx.test", "list-return-1-@mx.test-@[]", "@", "@.test",
      String(repeating: "a", count: 65) + "@mx.test",
      "a@" + String(repeating: "a.", count: 130) + "test", "<a@mx.test>", "a,b@mx.test",
      "a:b@mx.test",
    ])
  func refused(sender: String) {
    for dialect in BadmailfromDialect.allCases {
      #expect(throws: UnblockableSender.self) { try dialect.entry(for: Address(sender)) }
    }
  }

  @Test("a regex line matches its sender, ignoring case, and nobody else")
  func regexMatches() throws {
    func matches(_ pattern: [UInt8], _ text: String) -> Bool {
      var compiled = regex_t()
      let source = String(decoding: pattern, as: UTF8.self)
      guard regcomp(&compiled, source, REG_EXTENDED | REG_ICASE) == 0 else { return false }
      defer { regfree(&compiled) }
      return regexec(&compiled, text, 0, nil, 0) == 0
    }
    for sender in [
      "alice@mx.test", "a.b@mx.test", "a+b@mx.test", "a|b@c.test", "x{2}@y.test", "a^b$c@d.test",
      "w*?@z.test", "o'neil`s@q.test", "a/b=c&d%e!f#g_h~i}j@k.test",
    ] {
      let line = try BadmailfromDialect.regex.entry(for: Address(sender))
      #expect(matches(line, sender), "\(sender)")
      #expect(matches(line, sender.uppercased()), "\(sender)")
      for other in [
        "x" + sender, sender + "x", sender + ".evil.example", sender.replacing(".", with: "x"),
        "someone@else.test", "", "x@" + sender,
      ] where other != sender {
        #expect(!matches(line, other), "\(sender) also blocks \(other)")
      }
    }
    let domain = try BadmailfromDialect.regex.entry(for: Address("@spam.example"))
    #expect(matches(domain, "joe@spam.example") && matches(domain, "JOE@SPAM.example"))
    #expect(!matches(domain, "joe@sub.spam.example") && !matches(domain, "joe@spamxexample"))
  }

  @Test("the program tells its dialect; traces of an unknown patch tell nothing")
  func programs() {
    let common = "control/badmailfrom\0"
    let stock = common + "553 sorry, your envelope sender is in my badmailfrom list (#5.7.1)\r\n\0"
    let programs: [(String, BadmailfromDialect?)] = [
      (stock + "214 notqmail home page: https://notqmail.org\0", .stock),
      (
        stock + "214 qmail home page: http://pobox.com/~djb/qmail.html\0control/relaymailfrom\0",
        .stock
      ),
      (
        "regcomp\0" + common
          + "control/badmailfromnorelay\0553 sorry, your envelope sender has been denied (#5.7.1)\r\n\0qregexbmf\0",
        .regex
      ),
      (common + "control/badmailfrom-unknown\0control/goodmailaddr\0", .ldap),
      ("badmailfrom\0badmailpatterns\0qregex\0QREGEX\0regcomp\0", .indimail),
      (common + "LOCALMFCHECK\0control/badloadertypes.cdb\0", .sqmail),
      ("bad mail from\0badmailfrom\0goodmailfrom\0filterconf\0", .qsmtp),
      (stock + "regcomp\0", nil), (stock + "control/badmailfromnorelay\0", nil),
      (stock + "control/badmailfrom.cdb\0", nil), (common, nil), ("", nil),
      ("#!/bin/sh\nexec real-smtpd\n", nil),
      (common + "control/badmailfrom-unknown\0LOCALMFCHECK\0", nil),
    ]
    for (text, dialect) in programs {
      #expect(BadmailfromDialect.detect(program: Array(text.utf8)) == dialect, "\(text)")
    }
  }

  @Test("detection looks at bin/, and at control/qregex for indimail")
  func detection() throws {
    let home = Home()
    #expect(BadmailfromDialect.detect(qmail: home.path) == nil)
    try home.write("bin/qmail-smtpd", "badmailfrom\0badmailpatterns\0", mode: 0o755)
    #expect(BadmailfromDialect.detect(qmail: home.path) == .indimail)
    try home.write("control/qregex", "1\n")
    #expect(BadmailfromDialect.detect(qmail: home.path) == .regex)
    try home.write("control/qregex", "0\n")
    #expect(BadmailfromDialect.detect(qmail: home.path) == .indimail)
    try home.write("bin/Qsmtpd", "badmailfrom\0goodmailfrom\0filterconf\0", mode: 0o755)
    #expect(BadmailfromDialect.detect(qmail: home.path) == nil)
    unlink("\(home.path)/bin/qmail-smtpd")
    #expect(BadmailfromDialect.detect(qmail: home.path) == .qsmtp)
  }

  @Test("the qmail installed here, if there is one, is recognised as stock")
  func installed() throws {
    guard (try? FileStatus.of("/var/qmail/bin/qmail-smtpd")) != nil else { return }
    #expect(BadmailfromDialect.detect(qmail: "/var/qmail") == .stock)
  }
}
