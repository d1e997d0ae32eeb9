/// One JSON value (RFC 8259). A small strict parser, linear in its input; nesting deeper than 64 is refused.
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
    var parser = Parser(bytes: bytes, at: bytes.startIndex)
    parser.skipBlanks()
    self = try parser.value(depth: 0)
    parser.skipBlanks()
    guard parser.at == bytes.endIndex else { throw parser.malformed("the end of the line") }
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

  fileprivate struct Parser {
    let bytes: ArraySlice<UInt8>
    var at: Int

    func malformed(_ expected: String) -> Malformed {
      Malformed(offset: at - bytes.startIndex, expected: expected)
    }

    var peek: UInt8? { at < bytes.endIndex ? bytes[at] : nil }

    mutating func skipBlanks() {
      while let byte = peek, byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D {
        at += 1
      }
    }

    mutating func take(_ byte: UInt8, _ expected: String) throws(Malformed) {
      guard peek == byte else { throw malformed(expected) }
      at += 1
    }

    mutating func value(depth: Int) throws(Malformed) -> JSONValue {
      guard depth < 64 else { throw malformed("less nesting") }
      switch peek {
      case UInt8(ascii: "{"): return try object(depth)
      case UInt8(ascii: "["): return try array(depth)
      case UInt8(ascii: "\""): return .string(try string())
      case UInt8(ascii: "t"): return try word("true", .bool(true))
      case UInt8(ascii: "f"): return try word("false", .bool(false))
      case UInt8(ascii: "n"): return try word("null", .null)
      default: return try number()
      }
    }

    mutating func word(_ word: StaticString, _ value: JSONValue) throws(Malformed) -> JSONValue {
      let text = "\(word)".utf8
      guard bytes[at...].starts(with: text) else { throw malformed("a value") }
      at += text.count
      return value
    }

    mutating func object(_ depth: Int) throws(Malformed) -> JSONValue {
      at += 1
      var members: [String: JSONValue] = [:]
      skipBlanks()
      if peek == UInt8(ascii: "}") {
        at += 1
        return .object(members)
      }
      while true {
        skipBlanks()
        guard peek == UInt8(ascii: "\"") else { throw malformed("a key in quotes") }
        let key = try string()
        skipBlanks()
        try take(UInt8(ascii: ":"), "a colon")
        skipBlanks()
        members[key] = try value(depth: depth + 1)
        skipBlanks()
        if peek == UInt8(ascii: ",") {
          at += 1
          continue
        }
        try take(UInt8(ascii: "}"), "a comma or }")
        return .object(members)
      }
    }

    mutating func array(_ depth: Int) throws(Malformed) -> JSONValue {
      at += 1
      var values: [JSONValue] = []
      skipBlanks()
      if peek == UInt8(ascii: "]") {
        at += 1
        return .array(values)
      }
      while true {
        skipBlanks()
        values.append(try value(depth: depth + 1))
        skipBlanks()
        if peek == UInt8(ascii: ",") {
          at += 1
          continue
        }
        try take(UInt8(ascii: "]"), "a comma or ]")
        return .array(values)
      }
    }

    mutating func string() throws(Malformed) -> String {
      at += 1
      let start = at
      // The usual case: no escapes, so the bytes are the text.
      while let byte = peek, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\"), byte >= 0x20 {
        at += 1
      }
      if peek == UInt8(ascii: "\"") {
        defer { at += 1 }
        return Text.decode(bytes[start..<at])
      }
      var text = Array(bytes[start..<at])
      while let byte = peek {
        switch byte {
        case UInt8(ascii: "\""):
          at += 1
          return Text.decode(text)
        case UInt8(ascii: "\\"):
          at += 1
          try escape(into: &text)
        case 0..<0x20: throw malformed("no control character in a string")
        default:
          text.append(byte)
          at += 1
        }
      }
      throw malformed("a closing quote")
    }

    mutating func escape(into text: inout [UInt8]) throws(Malformed) {
      guard let byte = peek else { throw malformed("an escape") }
      at += 1
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
      case UInt8(ascii: "n"): text.append(0x0A)
      case UInt8(ascii: "t"): text.append(0x09)
      case UInt8(ascii: "r"): text.append(0x0D)
      case UInt8(ascii: "b"): text.append(0x08)
      case UInt8(ascii: "f"): text.append(0x0C)
      case UInt8(ascii: "u"):
        var code = try hex4()
        if (0xD800..<0xDC00).contains(code), peek == UInt8(ascii: "\\"),
          at + 1 < bytes.endIndex, bytes[at + 1] == UInt8(ascii: "u")
        {
          at += 2
          let low = try hex4()
          guard (0xDC00..<0xE000).contains(low) else { throw malformed("a low surrogate") }
          code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
        }
        // A lone surrogate is no character.
        text += String(Character(Unicode.Scalar(code) ?? "\u{FFFD}")).utf8
      default: throw malformed("a known escape")
      }
    }

    mutating func hex4() throws(Malformed) -> UInt32 {
      guard at + 4 <= bytes.endIndex,
        bytes[at..<(at + 4)].allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }),
        let code = UInt32(String(decoding: bytes[at..<(at + 4)], as: UTF8.self), radix: 16)
      else { throw malformed("four hexadecimal digits") }
      at += 4
      return code
    }

    mutating func number() throws(Malformed) -> JSONValue {
      let start = at
      var isWhole = true
      if peek == UInt8(ascii: "-") { at += 1 }
      let digits = at
      while let byte = peek {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): break
        case UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"), UInt8(ascii: "+"),
          UInt8(ascii: "-"):
          isWhole = false
        default:
          return try finish(start, digits, isWhole)
        }
        at += 1
      }
      return try finish(start, digits, isWhole)
    }

    private func finish(_ start: Int, _ digits: Int, _ isWhole: Bool) throws(Malformed) -> JSONValue
    {
      let text = String(decoding: bytes[start..<at], as: UTF8.self)
      guard digits < at, (0x30...0x39).contains(bytes[digits]),
        (0x30...0x39).contains(bytes[at - 1]),
        let value = Double(text)
      else { throw malformed("a value") }
      if isWhole, let integer = Int64(text) { return .integer(integer) }
      return .number(value)
    }
  }
}
