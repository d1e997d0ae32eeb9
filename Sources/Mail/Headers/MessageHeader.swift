/// The header of a message, cut into its fields. Total on any bytes and linear in their number.
///
/// A line that is neither a field nor folded (no colon) is kept as a field without a name, so that nothing a message holds escapes a search.
public struct MessageHeader: Sendable, Hashable {
  /// One field as it stands in the message.
  public struct Field: Sendable, Hashable {
    /// The whole field, its folded lines included, without the last line's end.
    public let lines: Range<Int>
    /// The name without the colon; empty for a line that is no field.
    public let name: Range<Int>
  }

  /// What the header was read from, up to where the body begins.
  public let bytes: [UInt8]
  public let fields: [Field]
  /// Where the body begins; nil when the header does not end within the bytes given.
  public let bodyOffset: Int?

  /// - Parameter bytes: a message or its beginning.
  public init(_ bytes: [UInt8]) { self.init(bytes.span) }

  /// - Parameter start: where the header begins; ranges and ``bodyOffset`` count from there.
  public init(_ message: Span<UInt8>, from start: Int = 0) {
    var fields: [Field] = []
    var line = min(start, message.count)
    let start = line
    var body: Int?
    while line < message.count {
      let end = message.firstIndex(of: newline, from: line) ?? message.count
      var stop = end
      if stop > line, message[stop - 1] == UInt8(ascii: "\r") { stop -= 1 }
      if stop == line, end < message.count {
        body = end + 1
        break
      }
      if isBlank(message[line]), let last = fields.last {
        fields[fields.count - 1] = Field(
          lines: last.lines.lowerBound..<(stop - start), name: last.name)
      } else {
        let nameEnd = Self.nameEnd(message, line, stop)
        fields.append(
          Field(lines: (line - start)..<(stop - start), name: (line - start)..<(nameEnd - start)))
      }
      line = end + 1
    }
    self.fields = fields
    bodyOffset = body.map { $0 - start }
    self.bytes = message.copied(start..<(body ?? message.count))
  }

  /// Where the name that begins at `line` ends; `line` when there is none.
  private static func nameEnd(_ message: Span<UInt8>, _ line: Int, _ stop: Int) -> Int {
    var at = line
    // RFC 5322: printable ASCII without the colon. Blanks before the colon are obsolete syntax, yet met.
    while at < stop, message[at] > 32, message[at] < 127, message[at] != UInt8(ascii: ":") {
      at += 1
    }
    let end = at
    while at < stop, isBlank(message[at]) { at += 1 }
    return at < stop && message[at] == UInt8(ascii: ":") ? end : line
  }

  /// Whether the field has this name, ASCII case ignored.
  public func isNamed(_ field: Field, _ name: some Collection<UInt8>) -> Bool {
    field.name.count == name.count
      && zip(bytes[field.name], name).allSatisfy { $0.asciiLowercased == $1.asciiLowercased }
  }

  /// The field's value: unfolded, blanks at both ends cut off, not decoded.
  public func value(_ field: Field) -> [UInt8] {
    var at = field.name.upperBound
    if !field.name.isEmpty {
      while at < field.lines.upperBound, bytes[at] != UInt8(ascii: ":") { at += 1 }
      at += 1
    }
    return Self.unfolded(bytes[min(at, field.lines.upperBound)..<field.lines.upperBound])
  }

  /// The whole field on one line, `Name: value`, not decoded.
  public func unfolded(_ field: Field) -> [UInt8] { Self.unfolded(bytes[field.lines]) }

  /// The raw values of every field of this name, in order.
  public func values(_ name: String) -> [[UInt8]] {
    fields.lazy.filter { isNamed($0, name.utf8) }.map { value($0) }
  }

  /// The raw value of the first field of this name.
  public func first(_ name: String) -> [UInt8]? {
    fields.first { isNamed($0, name.utf8) }.map { value($0) }
  }

  /// The first field of this name as text, encoded words decoded.
  public func text(_ name: String) -> String? {
    first(name).map { String(decoding: EncodedWords.decode($0), as: UTF8.self) }
  }

  /// A line's end and the blanks after it become one blank.
  private static func unfolded(_ value: ArraySlice<UInt8>) -> [UInt8] {
    var out: [UInt8] = []
    out.reserveCapacity(value.count)
    var isFold = true
    for byte in value {
      if byte == newline {
        while let last = out.last, last == UInt8(ascii: "\r") || isBlank(last) { out.removeLast() }
        if !out.isEmpty { out.append(UInt8(ascii: " ")) }
        isFold = true
      } else if !isFold || !isBlank(byte) {
        out.append(byte)
        isFold = false
      }
    }
    while let last = out.last, isBlank(last) || last == UInt8(ascii: "\r") { out.removeLast() }
    return out
  }
}

func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
