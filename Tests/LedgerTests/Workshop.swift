import Files
import Fixtures
import Glibc
import Mail
import Storms
import Testing

@testable import Ledger

/// A directory of its own for one test, removed at its end.
final class Workshop {
  private let folder = TemporaryFolder()
  var path: String { folder.path }

  /// Everything in it.
  var names: [String] { ((try? Descriptor.open(path, .directory).names()) ?? []).sorted() }

  var database: String { "\(path)/ledger.sqlite" }

  func write(_ bytes: [UInt8], to name: String) {
    let file = open("\(path)/\(name)", O_WRONLY | O_CREAT | O_TRUNC, 0o644)
    defer { close(file) }
    #expect(Glibc.write(file, bytes, bytes.count) == bytes.count)
  }

  func bytes(of name: String) -> [UInt8] { bytes(at: "\(path)/\(name)") }

  func bytes(at path: String) -> [UInt8] {
    let file = open(path, O_RDONLY)
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: 1 << 20)
    let n = read(file, &bytes, bytes.count)
    return Array(bytes.prefix(max(n, 0)))
  }
}

extension Timestamp {
  static let noon = Timestamp(seconds: 1_795_000_000)
}

extension Storm {
  /// A storm with every field filled, hostile bytes included.
  static func sample(_ incident: Int) -> Storm {
    var evidence = Evidence()
    evidence.messages = 300
    evidence.recipients = 900
    evidence.failed = 120
    evidence.delivered = 40
    evidence.lingering = 360
    evidence.recipientDomains = 392
    evidence.senders = 1
    evidence.clients = 2
    evidence.listMarked = 3
    evidence.failuresProven = true
    evidence.normalPerMinute = 0.25
    return Storm(
      incident: incident, kind: .relaySender, began: .noon, lastSeen: .noon + .seconds(60),
      offenders: [
        .sender(Address([0xFF, 0x00, 0x0A] + Array("x'\"@mx.test".utf8))), .user("alice"),
        .client("198.18.0.1"), .uid(33), .senderDomain(Domain("mx.test")),
      ],
      victims: ["bob@mx.test", "ex\u{E4}mple"], evidence: evidence,
      samples: [1, UInt64.max, 999_733],
      reason: "alice@mx.test sends 300 messages; was 0.25 a minute")
  }
}
