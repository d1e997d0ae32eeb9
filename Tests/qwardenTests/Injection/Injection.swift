import Mail
import Testing

/// What somebody who writes to us would put into an address, a name or a subject to be more than text somewhere.
///
/// Where it begins a line of its own that line is `FORGED`.
struct Injection: Sendable, CustomTestStringConvertible {
  let name: String
  let bytes: [UInt8]

  private init(_ name: String, _ text: String) { self.init(name, Array(text.utf8)) }
  private init(_ name: String, _ bytes: [UInt8]) {
    self.name = name
    self.bytes = bytes
  }

  var testDescription: String { name }
  /// As machine-readable output has it.
  var text: String { Text.decode(bytes) }
  var address: Address { Address(bytes) }
  /// A queue's files and a command line hold no NUL.
  var hasNUL: Bool { bytes.contains(0) }
  /// qmail-queue takes no longer address.
  var isLong: Bool { bytes.count > 1000 }

  static let all: [Injection] = [
    Injection("newline", "a\nFORGED line@x.example"),
    Injection("carriage return", "a\rFORGED\r\nFORGED@x.example"),
    Injection("NUL", "a\0FORGED@x.example"),
    Injection("colour", "\u{1B}[31mred\u{1B}[0m@x.example"),
    Injection("terminal title", "\u{1B}]0;title\u{07}@x.example"),
    Injection("a screen cleared", "a\u{1B}[2J\u{1B}[H\u{08}\u{7F}\u{0C}@x.example"),
    Injection("C1 in UTF-8", "a\u{9B}31m\u{85}FORGED@x.example"),
    Injection("C1 as a byte", Array("a".utf8) + [0x9B] + Array("31m@x.example".utf8)),
    Injection("broken UTF-8", [0xC3, 0x28, 0xFF, 0xE2, 0x82] + Array("@x.example".utf8)),
    Injection("overlong", [0xC0, 0x8A] + Array("FORGED@x.example".utf8)),
    Injection("right to left", "a\u{202E}gro.knab@\u{2066}x.example"),
    Injection("invisible", "a\u{200B}\u{FEFF}\u{E0041}\u{AD}@x.example"),
    Injection("line separators", "a\u{2028}FORGED\u{2029}FORGED@x.example"),
    Injection(
      "journal field", "a\nPRIORITY=0\n_SYSTEMD_UNIT=sshd.service\nMESSAGE=FORGED@x.example"),
    Injection("journal, native", "a\nMESSAGE\n\u{08}\0\0\0\0\0\0\0FORGED@\nx.example"),
    Injection("notification", "a\nSTOPPING=1\nMAINPID=1\nFDSTORE=1@x.example"),
    Injection("Prometheus", "a\"} 1\nFORGED{x=\"y\\@x.example"),
    Injection("script", "<script>alert(1)</script>@x.example"),
    Injection("attribute", "\"'><img src=x onerror=alert(1)>&amp;@x.example"),
    Injection("markup's end", "]]>--></style></title></svg><!--@x.example"),
    Injection("JSON", "a\",\"id\":0,\"x\":\"\\u0000\\\"}\n{\"FORGED\":1}@x.example"),
    Injection("mbox", "From x\n\nFrom FORGED Mon Nov 23 00:00:00 2026\n>From @x.example"),
    Injection("CSV", "=cmd|' /C calc'!A0,\"a\";\tb@x.example"),
    Injection("formats", "%s%n%x\\n$(id)`id`;id|id&id@x.example"),
    Injection("expression", ".*(a+)+$|^@x.example"),
    Injection("wildcards", "*@*.example"),
    Injection("brackets", "[a-z]\\?@x.example"),
    Injection("path", "../../etc/passwd@x.example"),
    Injection("option", "-rf"), Injection("long option", "--help"),
    Injection("option, an address", "--qmail=/@x.example"),
    Injection("at", "@"), Injection("two ats", "a@b@x.example"),
    Injection("only a host", "@x.example"),
    Injection("comment", "#a@x.example"), Injection("negation", "!a@x.example"),
    Injection("exemption", "?a@x.example"), Injection("tilde", "~a@x.example"),
    Injection("suffix", "a@x.example+"), Injection("any user", "a@"),
    Injection("suffixed host", ".example"), Injection("bare word", "example"),
    Injection("own tag", "a\n# qwarden end\n.*\n# FORGED@x.example"),
    Injection("own begin", "# qwarden begin"), Injection("blanks", " a \t@x.example "),
    Injection("literal", "a@[192.0.2.1]"), Injection("quoted", "\"a\\\" b\"@x.example"),
    Injection("capitals", "ALICE@MX.Example"), Injection("plain", "alice@x.example"),
    Injection("letters", "dürer-日本@bücher.example"),
    Injection("ten kilobytes", String(repeating: "long\u{1B}\n", count: 1700) + "@x.example"),
  ]
}
