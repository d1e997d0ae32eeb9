import Mail

/// An IPv4 or IPv6 address, strictly read: no names, no zones, no octal.
struct InternetAddress: Hashable, Sendable {
  /// 4 or 16 bytes; an IPv4 address in IPv6 (`::ffff:a.b.c.d`) is kept as IPv4.
  let bytes: [UInt8]
  let text: String

  init?(_ text: String) {
    guard let bytes = text.contains(":") ? Self.six(text) : Self.four(text) else { return nil }
    let mapped = [UInt8](repeating: 0, count: 10) + [0xFF, 0xFF]
    self.bytes = bytes.starts(with: mapped) ? Array(bytes.dropFirst(12)) : bytes
    self.text = text
  }

  private static func four(_ text: some StringProtocol) -> [UInt8]? {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 4 else { return nil }
    var bytes: [UInt8] = []
    for part in parts {
      guard isDigits(part), part.count <= 3, part.count == 1 || part.first != "0",
        let byte = UInt8(part)
      else { return nil }
      bytes.append(byte)
    }
    return bytes
  }

  private static func six(_ text: String) -> [UInt8]? {
    guard text.utf8.count <= 45 else { return nil }
    let halves = text.split(separator: "::", maxSplits: 2, omittingEmptySubsequences: false)
    guard halves.count <= 2, let head = groups(halves[0]) else { return nil }
    if halves.count == 1 { return head.count == 16 ? head : nil }
    guard let tail = groups(halves[1]), head.count + tail.count <= 14 else { return nil }
    return head + [UInt8](repeating: 0, count: 16 - head.count - tail.count) + tail
  }

  private static func groups(_ text: Substring) -> [UInt8]? {
    if text.isEmpty { return [] }
    var bytes: [UInt8] = []
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    for (index, part) in parts.enumerated() {
      if index == parts.count - 1, part.contains(".") {
        guard let four = four(part) else { return nil }
        bytes += four
      } else {
        guard !part.isEmpty, part.count <= 4, part.utf8.allSatisfy(isHexadecimal),
          let group = UInt16(part, radix: 16)
        else { return nil }
        bytes += [UInt8(group >> 8), UInt8(group & 0xFF)]
      }
    }
    return bytes.count <= 16 ? bytes : nil
  }

  private static func isDigits(_ text: some StringProtocol) -> Bool {
    !text.isEmpty && text.utf8.allSatisfy { $0 >= 48 && $0 <= 57 }
  }

  private static func isHexadecimal(_ byte: UInt8) -> Bool {
    byte >= 48 && byte <= 57 || byte.asciiLowercased >= 97 && byte.asciiLowercased <= 102
  }
}

/// An address or a CIDR range, as the protect list names clients.
struct InternetRange: Hashable, Sendable {
  private let base: [UInt8]
  private let length: Int

  init?(_ text: String) {
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    guard let first = parts.first, let address = InternetAddress(String(first)) else { return nil }
    base = address.bytes
    guard parts.count == 2 else {
      length = base.count * 8
      return
    }
    guard let length = Int(parts[1]), length >= 0, length <= base.count * 8 else { return nil }
    self.length = length
  }

  func contains(_ address: InternetAddress) -> Bool {
    guard address.bytes.count == base.count else { return false }
    for bit in 0..<length {
      let mask = UInt8(0x80) >> UInt8(bit % 8)
      if (base[bit / 8] ^ address.bytes[bit / 8]) & mask != 0 { return false }
    }
    return true
  }
}
