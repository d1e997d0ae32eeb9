/// An IPv4 or IPv6 address, or a CIDR range of them, to compare clients with.
public struct ClientRange: Hashable, Sendable, CustomStringConvertible {
  /// 16 bytes; IPv4 as IPv4-mapped IPv6, so that `::ffff:10.0.0.1` and `10.0.0.1` are the same client.
  private let address: [UInt8]
  private let prefix: Int
  public let description: String

  /// - Returns: nil unless the text is an address, or an address, `/` and a prefix length that fits it.
  public init?(_ text: String) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard (1...2).contains(parts.count), let bytes = Self.bytes(of: String(parts[0])) else {
      return nil
    }
    let isIPv4 = !parts[0].contains(":")
    var length = 128
    if parts.count == 2 {
      guard let given = Int(parts[1]), parts[1].allSatisfy(\.isNumber), given >= 0,
        given <= (isIPv4 ? 32 : 128)
      else { return nil }
      length = isIPv4 ? given + 96 : given
    }
    address = bytes
    prefix = length
    description = text
  }

  /// Whether `client`, an address as qmail writes it, is in the range. Text that is no address is in none.
  public func contains(_ client: String) -> Bool {
    guard let bytes = Self.bytes(of: client) else { return false }
    let whole = prefix / 8
    guard bytes[..<whole].elementsEqual(address[..<whole]) else { return false }
    let rest = prefix % 8
    guard rest > 0 else { return true }
    let mask = UInt8(truncatingIfNeeded: 0xFF00 >> rest)
    return bytes[whole] & mask == address[whole] & mask
  }

  /// The network that a client is in: the /24 of an IPv4 address; the /64 of an IPv6 address, within which a host takes another one each
  /// day (RFC 8981). Text that is no address stands for itself.
  public static func network(of client: String) -> [UInt8] {
    guard let bytes = bytes(of: client) else { return Array(client.utf8) }
    return Array(bytes.prefix(client.utf8.contains(UInt8(ascii: ".")) ? 15 : 8))
  }

  private static func bytes(of text: String) -> [UInt8]? {
    text.utf8.contains(UInt8(ascii: ":"))
      ? ipv6(text) : ipv4(text).map { [UInt8](repeating: 0, count: 10) + [0xFF, 0xFF] + $0 }
  }

  /// Byte by byte: it is asked of every message that comes in.
  private static func ipv4(_ text: some StringProtocol) -> [UInt8]? {
    var bytes: [UInt8] = []
    var (value, digits) = (0, 0)
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"):
        value = value * 10 + Int(byte - UInt8(ascii: "0"))
        digits += 1
        guard digits <= 3, value <= 255 else { return nil }
      case UInt8(ascii: "."):
        guard digits > 0, bytes.count < 3 else { return nil }
        bytes.append(UInt8(value))
        (value, digits) = (0, 0)
      default: return nil
      }
    }
    guard digits > 0, bytes.count == 3 else { return nil }
    return bytes + [UInt8(value)]
  }

  private static func ipv6(_ text: String) -> [UInt8]? {
    func groups(_ part: Substring) -> [UInt8]? {
      if part.isEmpty { return [] }
      var bytes: [UInt8] = []
      let fields = part.split(separator: ":", omittingEmptySubsequences: false)
      for (index, field) in fields.enumerated() {
        if field.contains(".") {
          guard index == fields.count - 1, let four = ipv4(field) else { return nil }
          bytes += four
        } else {
          guard (1...4).contains(field.utf8.count), let value = UInt16(field, radix: 16),
            field.first != "+"
          else { return nil }
          bytes += [UInt8(value >> 8), UInt8(value & 255)]
        }
      }
      return bytes
    }
    guard let gap = text.firstRange(of: "::") else {
      guard let bytes = groups(Substring(text)), bytes.count == 16 else { return nil }
      return bytes
    }
    guard let head = groups(text[..<gap.lowerBound]), let tail = groups(text[gap.upperBound...]),
      head.count + tail.count <= 14
    else { return nil }
    return head + [UInt8](repeating: 0, count: 16 - head.count - tail.count) + tail
  }
}
