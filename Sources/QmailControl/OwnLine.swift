import Mail

/// One block of qwarden's in badmailfrom: who, and what its tag tells the administrator who opens the file.
public struct OwnLine: Sendable, Hashable {
  /// `local@domain`, or `@domain` for a whole domain; lower case.
  public var sender: Address
  /// When qwarden will take it out; read back to the second, and nil only where somebody has mangled the tag.
  public var until: Timestamp?
  public var incident: Int?
  /// The kind of storm, or the administrator's words; printable ASCII, at most 120 characters.
  public var reason: String

  public init(sender: Address, until: Timestamp?, incident: Int? = nil, reason: String) {
    self.sender = sender.lowercased
    self.until = until
    self.incident = incident
    let ascii = reason.utf8.map { $0 < 0x20 || $0 > 0x7E ? UInt8(ascii: "?") : $0 }
    self.reason = String(decoding: ControlText.trimmed(ascii.prefix(120)), as: UTF8.self)
  }

  private static let prefix = Array("# qwarden: ".utf8)

  /// `# qwarden: joe@v.test until 2026-11-24T03:10:00Z, incident 12: relay-sender`.
  var tag: [UInt8] {
    var tail = " until \(until?.iso8601 ?? "?")"
    if let incident { tail += ", incident \(incident)" }
    if !reason.isEmpty { tail += ": \(reason)" }
    return Self.prefix + sender.bytes + tail.utf8
  }

  /// Reads a tag back; nil for every other line, comments that merely look like one included.
  init?(tag: ArraySlice<UInt8>) {
    guard tag.starts(with: Self.prefix) else { return nil }
    let rest = tag.dropFirst(Self.prefix.count)
    let sender = Address(rest.prefix { $0 != UInt8(ascii: " ") })
    var tail = rest.dropFirst(sender.bytes.count)
    func skip(_ text: String) -> Bool {
      guard tail.starts(with: text.utf8) else { return false }
      tail = tail.dropFirst(text.utf8.count)
      return true
    }
    guard SenderGrammar.objection(to: sender) == nil, skip(" until ") else { return nil }
    // What is no date as it was written is no date of ours.
    let date = Text.decode(tail.prefix(20))
    let until = Timestamp(iso8601: date).flatMap { $0.iso8601 == date ? $0 : nil }
    tail = tail.dropFirst(until == nil ? tail.prefix { $0 == UInt8(ascii: "?") }.count : 20)
    var incident: Int?
    if skip(", incident ") {
      let digits = tail.prefix { (48...57).contains($0) }
      incident = Int(String(decoding: digits, as: UTF8.self))
      tail = tail.dropFirst(digits.count)
    }
    _ = skip(": ")
    self.init(
      sender: sender, until: until, incident: incident,
      reason: String(decoding: tail, as: UTF8.self))
  }
}
