import Fixtures
import Glibc
import Mail
import Testing

/// Files of a real queue (notqmail 1.09), and bytes gone wrong.
enum Sample {
  static let folder = String(#filePath.dropLast("Sample.swift".count)) + "Samples"

  static func bytes(_ path: String) throws -> [UInt8] {
    let file = try #require(fopen("\(folder)/\(path)", "r"))
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: 1 << 16)
    bytes.removeLast(bytes.count - fread(&bytes, 1, bytes.count, file))
    return bytes
  }

  static func head(_ path: String) throws -> MessageHead { MessageHead(try bytes(path)) }

  static let messages = [
    "01-relay-auth-deferred/mess/1412638", "02-mixed-local-remote-bounce/mess/1412657",
    "03-single-bounce-deferred/mess/1412689", "04-double-bounce-to-postmaster/mess/1412705",
    "05-double-bounce-of-inbound-backscatter/mess/1412753", "06-verp-list/mess/1412769",
    "07-null-sender-relayed/mess/1412785", "08-todo/mess/1412801",
  ]
  static let small = [
    "01-relay-auth-deferred/info/1412638", "02-mixed-local-remote-bounce/local/1412657",
    "02-mixed-local-remote-bounce/bounce/1412657", "06-verp-list/remote/1412769",
    "08-todo/todo/1412801",
  ]

  /// The same bytes with some changed, cut out, doubled or swapped for bytes that parsers care about; the seed decides.
  static func mutated(_ bytes: [UInt8], seed: UInt64) -> [UInt8] {
    var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
    func next(_ bound: Int) -> Int {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return Int(state % UInt64(max(bound, 1)))
    }
    var bytes = Array(bytes.prefix(1200))
    let spice = Array("\n\0\r <>()@:\"\\TDFup-".utf8) + [255, 0x80]
    for _ in 0...next(8) where !bytes.isEmpty {
      let at = next(bytes.count)
      switch next(5) {
      case 0: bytes[at] = UInt8(next(256))
      case 1: bytes[at] = spice[next(spice.count)]
      case 2: bytes.removeSubrange(at..<min(at + 1 + next(40), bytes.count))
      case 3: bytes.insert(contentsOf: bytes[at..<min(at + next(60), bytes.count)], at: at)
      default: bytes.removeLast(bytes.count - at)
      }
    }
    return bytes
  }
}
