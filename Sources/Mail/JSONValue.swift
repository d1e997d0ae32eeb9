/// One JSON value (RFC 8259), as ``JSONCursor`` reads it.
public enum JSONValue: Sendable, Hashable {
  case null
  case bool(Bool)
  case number(Double)
  /// A whole number that fits; kept apart because queue numbers are 64 bits wide.
  case integer(Int64)
  case string(String)
  case array([JSONValue])
  /// Of keys given twice the last counts.
  case object([String: JSONValue])

  /// Where the text stops being JSON.
  public struct Malformed: Error {
    public var offset: Int
    public var expected: String
  }

  public init(_ bytes: ArraySlice<UInt8>) throws(Malformed) {
    let text = bytes.span
    var cursor = JSONCursor()
    self = try Self.value(&cursor, text)
    try cursor.end(text)
  }

  public subscript(key: String) -> JSONValue? {
    if case .object(let members) = self { members[key] } else { nil }
  }
  public var string: String? { if case .string(let text) = self { text } else { nil } }
  public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
  public var array: [JSONValue]? { if case .array(let values) = self { values } else { nil } }
  public var integer: Int64? { if case .integer(let value) = self { value } else { nil } }
  public var number: Double? {
    switch self {
    case .number(let value): value
    case .integer(let value): Double(value)
    default: nil
    }
  }

  private static func value(_ cursor: inout JSONCursor, _ text: Span<UInt8>) throws(Malformed)
    -> JSONValue
  {
    switch cursor.peek(text) {
    case UInt8(ascii: "{"):
      var members: [String: JSONValue] = [:]
      var isMore = try cursor.enter(.object, text)
      while isMore {
        let key = try string(cursor.key(text), cursor, text)
        members[key] = try value(&cursor, text)
        isMore = try cursor.more(.object, text)
      }
      return .object(members)
    case UInt8(ascii: "["):
      var values: [JSONValue] = []
      var isMore = try cursor.enter(.array, text)
      while isMore {
        values.append(try value(&cursor, text))
        isMore = try cursor.more(.array, text)
      }
      return .array(values)
    case UInt8(ascii: "\""): return .string(try string(cursor.string(text), cursor, text))
    case UInt8(ascii: "t"):
      try cursor.word("true", text)
      return .bool(true)
    case UInt8(ascii: "f"):
      try cursor.word("false", text)
      return .bool(false)
    case UInt8(ascii: "n"):
      try cursor.word("null", text)
      return .null
    default:
      let place = try cursor.number(text)
      if let integer = cursor.integer(place, text) { return .integer(integer) }
      return .number(cursor.double(place, text) ?? .nan)
    }
  }

  private static func string(
    _ place: JSONCursor.StringPlace, _ cursor: JSONCursor, _ text: Span<UInt8>
  ) -> String {
    Text.decode(cursor.bytes(of: place, text))
  }
}
