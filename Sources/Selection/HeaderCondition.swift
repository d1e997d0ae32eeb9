import Mail

/// `Name: pattern`, a condition on fields of one name; or a pattern alone, which may hold for any whole field `Name: value`.
public struct HeaderCondition: Sendable {
  /// Lower-cased; nil for any field.
  let name: [UInt8]?
  let pattern: Pattern

  public init(_ text: String) throws(PatternError) {
    let bytes = Array(text.utf8)
    let end = bytes.firstIndex { $0 == UInt8(ascii: ":") || $0 < 33 || $0 > 126 }
    // A pattern that begins with a slash is an expression over whole fields; no field's name does.
    if let end, end > 0, bytes[end] == UInt8(ascii: ":"), bytes[0] != UInt8(ascii: "/") {
      name = bytes[..<end].map { $0.asciiLowercased }
      let rest = bytes[(end + 1)...].drop { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }
      pattern = try Pattern(String(decoding: rest, as: UTF8.self))
    } else {
      name = nil
      pattern = try Pattern(text)
    }
  }
}

/// `>2026-11-20`, `<2026-11-20T12:00`, or `2026-11-20`, that whole day: a condition on the Date field, in UTC.
public struct DateCondition: Sendable, Hashable {
  private let range: Range<Int64>

  public init?(_ text: String) {
    guard let first = text.first else { return nil }
    let isBound = first == ">" || first == "<"
    guard let moment = Timestamp(iso8601: isBound ? String(text.dropFirst()) : text) else {
      return nil
    }
    let at = moment.nanoseconds
    let end = (moment + .seconds(text.contains("T") ? 60 : 86_400)).nanoseconds
    range = first == ">" ? at..<Int64.max : first == "<" ? Int64.min..<at : at..<end
  }

  /// Whether a message of this date is meant.
  public func holds(for date: Timestamp) -> Bool { range.contains(date.nanoseconds) }
}

extension Selection {
  /// Whether the conditions on header fields hold. Each is tried on the decoded and on the raw value; address fields also on each
  /// address alone, so that a glob such as `*@example.com` means what it says. An empty literal means: no such field, or nothing in it.
  public func matches(_ header: MessageHeader) -> Bool {
    Self.hold(from, "from", header, areAddresses: true)
      && Self.hold(to, "to", header, areAddresses: true)
      && Self.hold(cc, "cc", header, areAddresses: true)
      && Self.hold(subjects, "subject", header, areAddresses: false)
      && headers.allSatisfy { Self.holds($0, header) } && datesHold(header)
  }

  private func datesHold(_ header: MessageHeader) -> Bool {
    if dates.isEmpty { return true }
    guard let date = header.first("date").flatMap(HeaderDate.parse) else { return false }
    return dates.allSatisfy { $0.holds(for: date) }
  }

  private static func hold(
    _ patterns: [Pattern], _ name: String, _ header: MessageHeader, areAddresses: Bool
  ) -> Bool {
    if patterns.isEmpty { return true }
    let values = header.values(name)
    return patterns.allSatisfy { holds($0, values, areAddresses: areAddresses) }
  }

  private static func holds(_ condition: HeaderCondition, _ header: MessageHeader) -> Bool {
    let fields = header.fields.lazy.filter { field in
      condition.name.map { header.isNamed(field, $0.span) } ?? true
    }
    if condition.name == nil {
      return fields.contains { holds(condition.pattern, header.unfolded($0)) }
    }
    return holds(condition.pattern, fields.map { header.value($0) }, areAddresses: false)
  }

  private static func holds(_ pattern: Pattern, _ values: [[UInt8]], areAddresses: Bool) -> Bool {
    if pattern.isEmptyLiteral { return values.allSatisfy(\.isEmpty) }
    return values.contains { value in
      if holds(pattern, value) { return true }
      return areAddresses
        && HeaderAddresses.find(in: value).contains { pattern.matchesWhole($0) }
    }
  }

  private static func holds(_ pattern: Pattern, _ value: [UInt8]) -> Bool {
    if pattern.matchesWithin(value) { return true }
    let decoded = EncodedWords.decode(value)
    return decoded != value && pattern.matchesWithin(decoded)
  }
}
