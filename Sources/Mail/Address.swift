/// An envelope address exactly as qmail holds it: bytes, of which any may be hostile.
///
/// Never assume UTF-8, an `@`, or printable characters. Escape for the sink with ``Escaping``.
public struct Address: Hashable, Sendable {
  public let bytes: [UInt8]

  public init(_ bytes: [UInt8]) { self.bytes = bytes }
  public init(_ bytes: some Sequence<UInt8>) { self.bytes = Array(bytes) }
  public init(_ text: String) { self.bytes = Array(text.utf8) }

  /// The null sender `<>` of ordinary bounces.
  public static let null = Address([UInt8]())
  /// `#@[]`, the sender of qmail's double bounces (INTERNALS, qmail-send(8)).
  public static let doubleBounce = Address("#@[]")

  public var isNull: Bool { bytes.isEmpty }
  public var isDoubleBounce: Bool { self == .doubleBounce }
  /// `<>` or `#@[]`: no person sent this.
  public var isBounceSender: Bool { isNull || isDoubleBounce }

  /// What stands before the last `@`, or everything when there is none.
  public var localPart: ArraySlice<UInt8> {
    bytes.lastIndex(of: UInt8(ascii: "@")).map { bytes[..<$0] } ?? bytes[...]
  }

  /// What stands after the last `@`, ASCII lower-cased, one trailing dot removed; empty when there is no `@`.
  public var domain: Domain {
    guard let at = bytes.lastIndex(of: UInt8(ascii: "@")) else { return Domain("") }
    return Domain(bytes: bytes[(at + 1)...])
  }

  /// The address with ASCII letters lower-cased, for comparisons as qmail makes them (case_lowerb).
  public var lowercased: Address { Address(bytes.map { $0.asciiLowercased }) }

  /// A daemon's address by its local part: mailer-daemon, postmaster, bounce(s), no-reply and the like.
  ///
  /// These send notices, so mail from them may be backscatter although the sender is not null.
  public var isDaemonLike: Bool {
    let local = String(decoding: localPart.map { $0.asciiLowercased }, as: UTF8.self)
    return ["mailer-daemon", "postmaster", "mail-daemon", "mailerdaemon", "double-bounce"]
      .contains(local)
  }

  /// qmail's own VERP form `prefix-@host-@[]` (qmail-send(8): one message, senders made per recipient).
  public var isQmailVERP: Bool { bytes.count > 4 && bytes.suffix(4).elementsEqual("-@[]".utf8) }

  /// The sender with its VERP variable part cut away, or nil when it has no such form.
  ///
  /// `list-bounces+joe=example.com@host` and `list-return-7-joe=example.com@host` both hold the member's
  /// address with `=` for `@`; qmail's `list-return-7-@host-@[]` has an empty one. The result identifies
  /// the list: `list-bounces+@host`.
  public var verpStem: Address? {
    if isQmailVERP { return Address(bytes.dropLast(4)) }
    let local = localPart
    guard let equals = local.lastIndex(of: UInt8(ascii: "=")), equals + 1 < local.endIndex,
      local[(equals + 1)...].contains(UInt8(ascii: "."))
    else { return nil }
    let head = local[..<equals]
    let cuts: [UInt8] = [UInt8(ascii: "+"), UInt8(ascii: "-")]
    guard let cut = head.firstIndex(where: { cuts.contains($0) }), cut > head.startIndex else {
      return nil
    }
    // Cut after the last separator that precedes the member's local part: members may hold `-` or `+`
    // themselves, so prefer a `+` and else the last `-` before `=`.
    let at =
      head.lastIndex(of: UInt8(ascii: "+")) ?? head.lastIndex(of: UInt8(ascii: "-")) ?? cut
    return Address(Array(head[...at]) + [UInt8(ascii: "@")] + domain.text.utf8)
  }
}

extension Address: CustomStringConvertible {
  /// The address made safe for a terminal or a log line; not for machine use.
  public var description: String { Escaping.terminal(bytes) }
}

/// A mail domain, ASCII lower-cased, without trailing dot. May be empty.
public struct Domain: Hashable, Sendable, Comparable, CustomStringConvertible {
  /// Latin-1 reading of the bytes, lower-cased: total for any input.
  public let text: String

  public init(_ text: String) { self.init(bytes: Array(text.utf8)) }

  public init(bytes: some Collection<UInt8>) {
    var lowered: [UInt8] = bytes.map { $0.asciiLowercased }
    if lowered.last == UInt8(ascii: ".") { lowered.removeLast() }
    text = Text.decode(lowered)
  }

  public var isEmpty: Bool { text.isEmpty }
  public var description: String { Escaping.terminal(Array(text.utf8)) }
  public static func < (a: Domain, b: Domain) -> Bool { a.text < b.text }
}

extension UInt8 {
  /// ASCII lower case of this byte; others unchanged.
  public var asciiLowercased: UInt8 { self >= 65 && self <= 90 ? self | 0x20 : self }
}
