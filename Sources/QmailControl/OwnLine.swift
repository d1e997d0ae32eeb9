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
    let until = Timestamp(iso8601: tail.prefix(20))
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

extension Timestamp {
  /// Reads back what ``iso8601`` writes for the years 1970 to 9999; nil for anything else.
  fileprivate init?(iso8601 text: ArraySlice<UInt8>) {
    let form = Array("dddd-dd-ddTdd:dd:ddZ".utf8)
    guard text.count == form.count else { return nil }
    var numbers = [0]
    for (byte, expected) in zip(text, form) {
      if expected == UInt8(ascii: "d") {
        guard (48...57).contains(byte) else { return nil }
        numbers[numbers.count - 1] = numbers[numbers.count - 1] * 10 + Int(byte - 48)
      } else {
        guard byte == expected else { return nil }
        numbers.append(0)
      }
    }
    // Howard Hinnant's days_from_civil.
    let year = numbers[1] > 2 ? numbers[0] : numbers[0] - 1
    let era = year / 400
    let yoe = year - era * 400
    let doy = (153 * ((numbers[1] + 9) % 12) + 2) / 5 + numbers[2] - 1
    let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
    let seconds = days * 86_400 + numbers[3] * 3600 + numbers[4] * 60 + numbers[5]
    self.init(
      nanoseconds: Int64(seconds).multipliedReportingOverflow(by: 1_000_000_000).partialValue)
    // Refuses 31 February and years outside the range by writing it again.
    guard Array(self.iso8601.utf8) == Array(text) else { return nil }
  }
}
