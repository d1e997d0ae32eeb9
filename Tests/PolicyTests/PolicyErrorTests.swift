import Files
import Fixtures
import Glibc
import Testing

@testable import Policy

@Suite("Errors of a policy")
struct PolicyErrorTests {
  @Test("all of them are told, each at its place, with what was expected and the nearest word")
  func golden() {
    let found = errors(
      in: """
        mode: enforced
        pollng:
          normal: 5s
        polling:
          normal: 10:30
          storm: 90
          fullpass: 60s
        blocking:
          enabled: yes
          kinds: [relay-sendr, stall, surge]
          local_senders: false
          per-hour: "10"
          duration: 2d
          longest: 1d
          keep: 3d
          dialect: qregex
        quarantine:
          share-of-queue: 120%
          minimum-free-space: 0.5.1
          kinds: relay-sender
        protect:
          senders:
            - alice
            - Bob@Example.COM
            - "*@example.com"
          clients: [192.0.2.300, 10.0.0.0/8, 10.0.0.0/33]
          uids: [33, web, -1]
        unrelated: 1
        grace: 5d
        """)
    #expect(
      found == [
        "policy.yaml:1:7: expected observe or enforce, found 'enforced'; did you mean 'enforce'?",
        "policy.yaml:2:1: unknown key 'pollng', did you mean 'polling'?",
        "policy.yaml:5:11: expected a duration from 1s to 1h, such as 90s, 5m, 24h or 7d, found '10:30'",
        "policy.yaml:6:10: expected a duration from 1s to 1h, such as 90s, 5m, 24h or 7d, found '90'; its unit is missing: s, m, h or d",
        "policy.yaml:7:3: unknown key 'fullpass', did you mean 'full-pass'?",
        "policy.yaml:9:12: expected true or false, found 'yes'; write true",
        "policy.yaml:10:11: expected a kind of storm (relay-sender, backscatter-in, bounce-out, relay-source), found 'relay-sendr'; did you mean 'relay-sender'?",
        "policy.yaml:10:24: expected a kind of storm (relay-sender, backscatter-in, bounce-out, relay-source), found 'stall'; stall has no sender that badmailfrom could stop",
        "policy.yaml:10:31: expected a kind of storm (relay-sender, backscatter-in, bounce-out, relay-source), found 'surge'; surge has no sender that badmailfrom could stop",
        "policy.yaml:11:3: unknown key 'local_senders', did you mean 'local-senders'?",
        "policy.yaml:12:13: expected a whole number from 0 to 10000, found the text \"10\"; take the quotes off",
        "policy.yaml:14:12: the longest block (1d) must not be shorter than the first (2d)",
        "policy.yaml:15:3: the key 'keep' belongs under 'quarantine'",
        "policy.yaml:16:12: expected auto, stock, regex, indimail, sqmail, ldap or qsmtp, found 'qregex'; did you mean 'regex'?",
        "policy.yaml:18:19: expected a share from 0 to 1, or from 0% to 100%, found '120%'",
        "policy.yaml:19:23: expected a share from 0 to 1, or from 0% to 100%, found '0.5.1'",
        "policy.yaml:20:10: expected a list, one '- value' a line or [a, b], found 'relay-sender'",
        "policy.yaml:23:7: expected a sender such as alice@example.com, or '@example.com' for a whole domain, found 'alice'",
        "policy.yaml:25:7: expected a sender such as alice@example.com, or '@example.com' for a whole domain, found the text \"*@example.com\"",
        "policy.yaml:26:13: expected an address or a range such as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32, found '192.0.2.300'",
        "policy.yaml:26:38: expected an address or a range such as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32, found '10.0.0.0/33'",
        "policy.yaml:27:14: expected a uid such as 33, found 'web'",
        "policy.yaml:27:19: expected a uid such as 33, found '-1'",
        "policy.yaml:28:1: unknown key 'unrelated'; known here: mode, polling, log, detection, blocking, quarantine, history, protect, metrics",
        "policy.yaml:29:1: the key 'grace' belongs under 'blocking'",
      ])
  }

  @Test("a log that is none, with what was meant")
  func logs() {
    let expected =
      "auto, none, journal, a unit such as qmail-send.service, or the path of a file or of a multilog directory"
    for (text, found) in [
      ("jurnal", "'jurnal'; did you mean 'journal'?"),
      ("var/log/mail.log", "'var/log/mail.log'; a path begins with /"),
      ("qmail-send", "'qmail-send'"), (".service", "'.service'"),
      ("\"/var/log/a\\nb\"", "the text \"/var/log/a\\x0Ab\""),
      ("[auto]", "a list"),
    ] {
      #expect(
        errors(in: "log:\n  source: \(text)\n") == [
          "policy.yaml:2:11: expected \(expected), found \(found)"
        ])
    }
    #expect(
      errors(in: "log:\n  tag: a b\n") == [
        "policy.yaml:2:8: expected a syslog tag such as qmail, found 'a b'"
      ])
    #expect(
      errors(in: "log: auto\n") == ["policy.yaml:1:6: expected the settings of 'log', found 'auto'"]
    )
    #expect(
      errors(in: "source: auto\n") == ["policy.yaml:1:1: the key 'source' belongs under 'log'"])
  }

  @Test("a metrics file that node_exporter would not read is refused, with what is wrong with it")
  func metrics() {
    let expected = "none or the path of a file that ends in .prom"
    for (text, found) in [
      ("qwarden.prom", "'qwarden.prom'; a path begins with /"),
      ("/run/qwarden", "'/run/qwarden'; node_exporter reads only files in .prom"),
      ("/run/.prom", "'/run/.prom'"), ("[none]", "a list"),
    ] {
      #expect(
        errors(in: "metrics:\n  file: \(text)\n") == [
          "policy.yaml:2:9: expected \(expected), found \(found)"
        ])
    }
  }

  @Test("one value against another, at the one that was written last")
  func crossChecks() {
    #expect(
      errors(in: "polling:\n  storm: 10s\n") == [
        "policy.yaml:2:10: polling during a storm (10s) must not be slower than normal polling (5s)"
      ])
    #expect(
      errors(in: "polling:\n  storm: 1s\n  full-pass: 20s\n  normal: 30s\n") == [
        "policy.yaml:4:11: a full pass (20s) must not come more often than normal polling (30s)"
      ])
    #expect(
      errors(in: "blocking:\n  duration: 60d\n") == [
        "policy.yaml:2:13: the longest block (30d) must not be shorter than the first (60d)"
      ])
  }

  @Test(
    "what YAML would quietly read otherwise is refused",
    arguments: [
      ("blocking:\n  per-hour: 10:30\n", "2:13"), ("blocking:\n  per-hour: 010\n", "2:13"),
      ("blocking:\n  per-hour: 0x10\n", "2:13"), ("blocking:\n  per-hour: 1_000\n", "2:13"),
      ("blocking:\n  per-hour: 1e3\n", "2:13"), ("blocking:\n  enabled: on\n", "2:12"),
      ("blocking:\n  enabled: \"true\"\n", "2:12"), ("blocking:\n  enabled: True\n", "2:12"),
      ("mode: [observe]\n", "1:7"), ("mode: {}\n", "1:7"), ("mode:\n", "1:1"),
      ("mode: ~\n", "1:1"), ("polling: 5s\n", "1:10"), ("polling: [5s]\n", "1:10"),
      ("- mode\n", "1:1"), ("observe\n", "1:1"), ("1: 2\n", "1:1"), ("[a]: 2\n", "1:1"),
      ("? {a: b}\n: c\n", "1:3"), ("protect:\n  uids: [4294967296]\n", "2:10"),
      ("protect:\n  uids: [[1]]\n", "2:10"), ("protect:\n  users: [~]\n", "2:11"),
      ("detection:\n  times-normal: .inf\n", "2:17"),
      ("history:\n  size: 200\n", "2:9"), ("history:\n  size: 0M\n", "2:9"),
      ("history:\n  size: 1001G\n", "2:9"), ("history:\n  size: 2 G\n", "2:9"),
      ("detection:\n  times-normal: 99999999999999999999999\n", "2:17"),
      ("polling:\n  normal: 99999999999999999999s\n", "2:11"),
    ])
  func refused(text: String, place: String) {
    let found = errors(in: text)
    #expect(found.count == 1)
    #expect(found.first?.hasPrefix("policy.yaml:\(place): ") == true, "\(found)")
  }

  @Test("a key that stands twice does not hide the other errors")
  func duplicateKeys() {
    #expect(
      errors(
        in:
          "mode: observe\nblocking:\n  per-hour: 1\n  \"per-hour\": x\nmode: enforce\nfoo: 1\nmode: observe\n"
      )
        == [
          "policy.yaml:1:1: the key 'mode' stands twice in this section; keep one of them",
          "policy.yaml:3:3: the key 'per-hour' stands twice in this section; keep one of them",
          "policy.yaml:4:15: expected a whole number from 0 to 10000, found 'x'",
          "policy.yaml:5:1: the key 'mode' stands twice in this section; keep one of them",
          "policy.yaml:6:1: unknown key 'foo'; known here: mode, polling, log, detection, blocking, quarantine, history, protect, metrics",
        ])
  }

  @Test("anchors and aliases are refused where they stand, before anything is expanded")
  func references() {
    #expect(
      errors(in: "blocking: &b\n  per-hour: 1 # & not this\nquarantine: *b\n") == [
        "policy.yaml:1:11: anchors and aliases (& and *) are not taken here; write the value out",
        "policy.yaml:3:13: anchors and aliases (& and *) are not taken here; write the value out",
      ])
    #expect(
      errors(in: "protect:\n  senders: [*@example.com]\n") == [
        "policy.yaml:2:13: no wildcards are taken here; a whole domain is '@example.com', in quotes"
      ])
    let bomb = "a: &a [x,x]\n" + (0..<40).map { "a\($0): &a\($0) [*a,*a]\n" }.joined()
    #expect(errors(in: bomb).count == 121)
    #expect(errors(in: "protect:\n  users: [a&b, b*c]  # R&D *\n").isEmpty)
  }

  @Test("broken YAML: its place and its reason")
  func syntax() {
    #expect(
      errors(in: "polling:\n\tnormal: 5s\n") == [
        "policy.yaml:2:1: a tab indents this line; YAML takes only spaces"
      ])
    for (text, expected) in [
      ("mode: \"observe\n", "1:7: not YAML: a quote begins here and does not end"),
      (
        "protect:\n  senders: [@example.com]\n",
        "2:13: not YAML: what begins with @ needs quotes: '@…'"
      ),
      (
        " mode: observe\nhistory:\n",
        "2:1: not YAML: did not find expected <document start>; is the first setting indented, or is this line not?"
      ),
      (
        "detection:\n messages: 3\n   recipients: 4\n",
        "3:14: not YAML: mapping values are not allowed in this context; is this line indented too far?"
      ),
    ] {
      #expect(errors(in: text) == ["policy.yaml:\(expected)"])
    }
    #expect(
      errors(in: "mode: observe\n---\nmode: enforce\n").first?.hasPrefix(
        "policy.yaml:2:1: not YAML") == true)
    #expect(errors(in: "mode: obs\u{1}erve\n").first?.contains("not YAML") == true)
    #expect(errors(in: String(repeating: "[", count: 200_000)).count == 1)
    #expect(errors(in: String(repeating: "- ", count: 200_000)).count == 1)
    #expect(errors(in: "mode: observe\n: : :\n").count >= 1)
  }

  @Test("an empty policy is told the least it can say")
  func empty() {
    let expected = ["policy.yaml: is empty; the least it can say is: mode: observe"]
    #expect(errors(in: "") == expected)
    #expect(errors(in: "# only a comment\n\n") == expected)
    #expect(errors(in: "---\n") != [])
  }

  @Test("bytes that are not UTF-8, where they begin")
  func notUTF8() {
    do throws(PolicyErrors) {
      _ = try PolicyFile.parse(Array("mode: observe\n# caf".utf8) + [0xE9, 0x0A], path: "p")
      Issue.record("accepted")
    } catch {
      #expect(error.description == "p:2:6: is not UTF-8 from here on")
    }
  }

  @Test("hostile text in an error cannot reach the terminal")
  func escaped() {
    #expect(errors(in: "\"a\\e[2J\": 1\n").first?.contains("a\\x1B[2J") == true)
    #expect(errors(in: "mode: \"\\e]0;x\\a\"\n").first?.contains("\u{1B}") == false)
    #expect(
      errors(in: "\"\\e[2J\": 1\n\"\\e[2J\": 2\n") == [
        "policy.yaml:1:1: the key '\\x1B[2J' stands twice in this section"
      ])
    let turned = errors(in: "a\u{202E}b: 1\na\u{202E}b: 2\n")
    #expect(turned.count == 3 && !turned.joined().contains("\u{202E}"), "\(turned)")
  }

  @Test("files that are none: missing, a directory, too long, forbidden")
  func files() throws {
    func failure(_ path: String) -> PolicyErrors? {
      do throws(PolicyErrors) {
        _ = try PolicyFile.load(path)
        return nil
      } catch { return error }
    }
    #expect(
      failure("/nowhere/policy.yaml")?.description
        == "/nowhere/policy.yaml: there is no such file; one that says 'mode: observe' is enough")
    #expect(failure("/nowhere/policy.yaml")?.exitCode == 78)
    #expect(failure("/tmp")?.description == "/tmp: is not a file")
    let path = "/tmp/qwarden-policy-\(getpid()).yaml"
    defer { unlink(path) }
    try Replacement.write(
      [UInt8](repeating: UInt8(ascii: "#"), count: (1 << 20) + 1), to: path, mode: 0o600,
      durable: false)
    #expect(failure(path)?.description == "\(path): is longer than 1 MiB")
    if geteuid() != 0 {
      chmod(path, 0)
      #expect(failure(path)?.exitCode == 77)
    }
  }

  @Test(
    "random damage to the shipped policy never crashes the reader and every error has a place in the file"
  )
  func fuzz() throws {
    let shipped = try Descriptor.open("\(repository)/config/policy.yaml").readAll(limit: 1 << 20)
    let odd = Array("\"'{}[]:-&*!|>%@`#?,\n\t \\0~x\u{7F}".utf8) + [0xFF, 0x00]
    var dice = Dice(seed: 42)
    let lines = shipped.count { $0 == 10 } + 30
    for _ in 0..<150 {
      var bytes = shipped
      for _ in 0..<Int.random(in: 1...6, using: &dice) {
        let at = Int.random(in: bytes.indices, using: &dice)
        switch Int.random(in: 0..<3, using: &dice) {
        case 0: bytes[at] = odd.randomElement(using: &dice) ?? 0
        case 1: bytes.insert(odd.randomElement(using: &dice) ?? 0, at: at)
        default:
          bytes.removeSubrange(at..<min(bytes.count, at + Int.random(in: 1...40, using: &dice)))
        }
      }
      do throws(PolicyErrors) { _ = try PolicyFile.parse(bytes, path: "p") } catch {
        #expect(!error.errors.isEmpty)
        #expect(error.errors.allSatisfy { $0.line <= lines && !$0.message.contains("\n") })
      }
    }
  }
}
