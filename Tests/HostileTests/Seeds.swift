import Glibc

/// What the parsers are meant to read: files of a real queue, and lines in every form they know.
extension Parser {
  /// The repository, found from this file; libFuzzer's program has it by a link in `Fuzz/Sources/fuzz`.
  static let home: String = {
    let folders = #filePath.split(separator: "/").map(String.init)
    let top = folders.lastIndex { $0 == "Tests" || $0 == "Fuzz" } ?? 0
    return "/" + folders[..<top].map { $0 + "/" }.joined()
  }()

  var seeds: [[UInt8]] { files.compactMap(Self.bytes) + lines.map { Array($0.utf8) } }

  static func bytes(_ path: String) -> [UInt8]? {
    guard let file = fopen("\(home)\(path)", "r") else { return nil }
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: 1 << 18)
    bytes.removeLast(bytes.count - fread(&bytes, 1, bytes.count, file))
    return bytes
  }

  private static func sample(_ path: String) -> String { "Tests/MailTests/Samples/\(path)" }

  private static let messages = [
    "01-relay-auth-deferred/mess/1412638", "02-mixed-local-remote-bounce/mess/1412657",
    "03-single-bounce-deferred/mess/1412689", "04-double-bounce-to-postmaster/mess/1412705",
    "05-double-bounce-of-inbound-backscatter/mess/1412753", "06-verp-list/mess/1412769",
    "07-null-sender-relayed/mess/1412785", "08-todo/mess/1412801",
  ].map(sample)

  private var files: [String] {
    switch self {
    case .info:
      ["01-relay-auth-deferred/info/1412638", "06-verp-list/info/1412769"].map(Self.sample)
    case .recipients:
      [
        "01-relay-auth-deferred/remote/1412638", "02-mixed-local-remote-bounce/local/1412657",
        "06-verp-list/remote/1412769",
      ].map(Self.sample)
    case .todo: [Self.sample("08-todo/todo/1412801")]
    case .bounce:
      ["02-mixed-local-remote-bounce/bounce/1412657", "06-verp-list/bounce/1412769"].map(
        Self.sample)
    case .message, .header, .mime: Self.messages
    case .sendLog, .logText: [Self.sample("send.log")]
    case .policy: ["config/policy.yaml"]
    default: []
    }
  }

  private var lines: [String] {
    switch self {
    case .info: ["F\0", "F#@[]\0", "Flist-@mx.test-@[]\0"]
    case .envelope:
      [
        "qwarden-envelope 2\nC\nid 999733\nbirth 1764000000123456789\ntaken 1764000001\nboot 6f0c\nsize 1559\n"
          + "recipients 2\nFa@b.test\0Pr0 tempa@remote.example\0Ml12 joe@mx.test\0"
      ]
    case .mime:
      [
        "Content-Type: multipart/mixed; boundary=\"b\"\n\n--b\nContent-Type: text/plain; charset=utf-8\n"
          + "Content-Transfer-Encoding: base64\n\naGVsbG8=\n--b\nContent-Type: text/html\n"
          + "Content-Transfer-Encoding: quoted-printable\n\n=48=\n--b--\n"
      ]
    case .encodedWords:
      [
        "=?utf-8?B?R3LDvMOfZQ==?= =?iso-8859-1?Q?a=E4_b?= plain",
        "Mon, 23 Nov 2026 17:22:22 +0100 (CET)", "\"a, b\" <x@y.test>, z@w.test (c), Group: a@b;",
      ]
    case .logText, .logNames:
      [
        "@400000005ff0a0b12345678c new msg 7", "1764000000.123456 end msg 7",
        "Nov 23 17:41:03 mx qmail: 1764000000.123456 delivery 1: success: ok",
        "2026-11-24T03:10:00.123456+01:00 mx qmail: 1764000000.123456 new msg 9\n1764000000.123456+tail",
      ]
    case .control: ["a.test\n# no\n\n b.test \t\nc.test:d\n"]
    case .badmailfrom:
      [
        "a@b.test\n@spam.test\n# qwarden begin\n# qwarden: joe@v.test until 2026-11-24T03:10:00Z, incident 12: relay-sender\n"
          + "joe@v.test\n# qwarden end\nx",
        "joe+tag=x@v.test\nno newline", "!a\\.b\n^joe@v\\.test$\n*@x\n?y@z\n",
      ]
    case .trace:
      [
        #"{"event":"trace","version":1,"host":"mx","local_domains":["mx.test"],"started":"x"}"#
          + "\n"
          + #"{"t":1.5,"event":"arrived","id":7,"sender":"a@b.test","size":99,"qp":12}"# + "\n"
      ]
    case .json:
      [#"{"a":[1,-2.5e3,true,null,"x\u00e9\ud83d\ude00\n"],"b":{"c":9223372036854775807}}"#]
    case .pattern:
      [
        "/^(a|b*)+[x-z]{2,5}$/\naaaabbbbxyz", "*@spam.*\nx@spam.test", "joe\nmailbox of JOE",
        #"/\bfoo\.(bar|baz)?\d+/"# + "\nfoo.bar42",
        "/(a*)*(b|c?d)+(e+f){1,9}/\naaaaaaaaaaaaaaaaaaaaaaa",
      ]
    case .selection:
      [
        "198.18.0.0/15", "2001:db8::/32", ">100k", "2026-11-24",
        "Subject: /free/\nSubject: FREE\n\n",
      ]
    default: []
    }
  }
}

/// Bytes gone wrong, the same for the same seed.
struct Mutator {
  private var state: UInt64
  private static let telling =
    Array(
      "\0\n\r\t \"\\<>@:;,.()[]{}*?/+-=_#!%&|^$~0189TDFuAZaz".utf8) + [
      0x1B, 0x7F, 0x80, 0xC3, 0xFF,
    ]
  private static let words = [
    "\n\n", "9223372036854775807", "-1", "18446744073709551616", "=?utf-8?B?", "?=", "\r\n ",
    "../..", "--",
    "Return-Path: <", "--- Below this line is a copy of the message.\n\n", "# qwarden: ", "@4000",
    "\\u0000",
    "(((((", "[[[[", "{{{{", "a*a*a*", "\u{1B}[31m", "&a", "*a", "1e999",
  ].map { Array($0.utf8) }

  init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

  mutating func below(_ bound: Int) -> Int {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return Int(state % UInt64(max(bound, 1)))
  }

  mutating func mutated(_ seed: [UInt8], with other: [UInt8], limit: Int) -> [UInt8] {
    // A window: what stands late in a long file is reached too.
    var start = 0
    if seed.count > limit, below(2) == 0 { start = below(seed.count - limit) }
    var bytes = Array(seed.dropFirst(start).prefix(limit))
    for _ in 0...below(6) {
      let at = below(bytes.count + 1)
      switch below(8) {
      case 0 where at < bytes.count: bytes[at] = UInt8(truncatingIfNeeded: below(256))
      case 1: bytes.insert(Self.telling[below(Self.telling.count)], at: at)
      case 2: bytes.insert(contentsOf: Self.words[below(Self.words.count)], at: at)
      case 3: bytes.removeSubrange(at..<min(at + below(20), bytes.count))
      case 4: bytes.removeLast(bytes.count - at)
      case 5:
        let piece = Array(bytes[at..<min(at + 1 + below(16), bytes.count)])
        for _ in 0..<below(8) { bytes.insert(contentsOf: piece, at: at) }
      case 6 where !other.isEmpty:
        let from = below(other.count)
        bytes.insert(contentsOf: other[from..<min(from + below(80), other.count)], at: at)
      default: if at < bytes.count { bytes[at] ^= 1 << UInt8(below(8)) }
      }
    }
    return bytes
  }
}
