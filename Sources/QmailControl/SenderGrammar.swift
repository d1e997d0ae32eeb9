import Mail

/// The senders that qwarden dares to write into badmailfrom: plain ASCII `local@domain` or `@domain`.
///
/// Narrower than RFC 5321 on purpose. A quoted local part, an address literal or a first character that starts a comment,
/// a negation or an exemption in some variant could block other people's mail, or nobody's.
public enum SenderGrammar {
  /// Why this sender is outside the grammar; nil when it is inside.
  public static func objection(to sender: Address) -> String? {
    let bytes = sender.bytes
    if sender.isNull { return "it is the null sender, of which all bounces come" }
    if sender.isDoubleBounce { return "it is the sender of qmail's own double bounces" }
    if bytes.count > 254 { return "it is longer than 254 bytes" }
    if let odd = bytes.first(where: { $0 <= 0x20 || $0 >= 0x7F }) {
      return "it holds the byte \(odd), which is not printable ASCII"
    }
    guard let at = bytes.firstIndex(of: UInt8(ascii: "@")) else { return "it has no domain" }
    let (local, domain) = (bytes[..<at], bytes[(at + 1)...])
    if domain.contains(UInt8(ascii: "@")) { return "it holds more than one @" }
    return objection(toLocalPart: local) ?? objection(toDomain: domain)
  }

  private static func objection(toLocalPart local: ArraySlice<UInt8>) -> String? {
    guard let first = local.first else { return nil }
    if local.count > 64 { return "its local part is longer than 64 bytes" }
    if "!?~#-".utf8.contains(first) {
      return "its first character has a meaning of its own in badmailfrom"
    }
    let dot = UInt8(ascii: ".")
    if first == dot || local.last == dot
      || zip(local, local.dropFirst()).contains(where: { $0 == dot && $1 == dot })
    {
      return "its local part has a dot out of place"
    }
    let odd = local.first { !isAlphanumeric($0) && !".!#$%&'*+-/=?^_`{|}~".utf8.contains($0) }
    return odd.map { "its local part holds \(Escaping.terminal([$0])), which needs quoting" }
  }

  private static func objection(toDomain domain: ArraySlice<UInt8>) -> String? {
    for label in domain.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false) {
      let dash = UInt8(ascii: "-")
      guard (1...63).contains(label.count), label.first != dash, label.last != dash,
        label.allSatisfy({ isAlphanumeric($0) || $0 == dash || $0 == UInt8(ascii: "_") })
      else { return "its domain is not a plain host name" }
    }
    return nil
  }

  private static func isAlphanumeric(_ byte: UInt8) -> Bool {
    (48...57).contains(byte) || (97...122).contains(byte.asciiLowercased)
  }
}
