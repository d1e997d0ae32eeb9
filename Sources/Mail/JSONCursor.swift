/// Reads JSON (RFC 8259) value by value where it stands, without building a tree: traces have millions of lines. Strict, linear in its
/// input; nesting deeper than 64 is refused.
///
/// An object is read by ``enter(_:_:)``, ``key(_:)``, a value, ``more(_:_:)``, and so on; an array likewise without keys.
public struct JSONCursor: Sendable {
  /// Where the next byte is.
  public private(set) var at = 0
  private var depth = 0

  public init() {}

  /// A string where it stands, between its quotes.
  public struct StringPlace: Sendable {
    public var range: Range<Int>
    /// Its bytes are not yet its text.
    public var hasEscapes: Bool
  }

  /// A number where it stands.
  public struct NumberPlace: Sendable {
    var range: Range<Int>
    var isWhole: Bool
  }

  public enum Bracket: UInt8, Sendable {
    case object = 0x7B
    case array = 0x5B
    fileprivate var closing: UInt8 { rawValue + 2 }
  }

  public func malformed(_ expected: String) -> JSONValue.Malformed {
    JSONValue.Malformed(offset: at, expected: expected)
  }

  /// The next byte that is no blank, not taken; 0 at the end.
  public mutating func peek(_ text: Span<UInt8>) -> UInt8 {
    while at < text.count {
      let byte = text[at]
      guard byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D else { return byte }
      at += 1
    }
    return 0
  }

  private mutating func take(_ byte: UInt8, _ expected: String, _ text: Span<UInt8>)
    throws(JSONValue.Malformed)
  {
    guard peek(text) == byte, at < text.count else { throw malformed(expected) }
    at += 1
  }

  /// Takes the opening bracket. False when nothing is inside; the closing one is taken then.
  public mutating func enter(_ bracket: Bracket, _ text: Span<UInt8>) throws(JSONValue.Malformed)
    -> Bool
  {
    try take(bracket.rawValue, bracket == .object ? "{" : "[", text)
    guard peek(text) == bracket.closing else {
      depth += 1
      guard depth < 64 else { throw malformed("less nesting") }
      return true
    }
    at += 1
    return false
  }

  /// After a value: whether another follows; else the closing bracket is taken.
  public mutating func more(_ bracket: Bracket, _ text: Span<UInt8>) throws(JSONValue.Malformed)
    -> Bool
  {
    if peek(text) == UInt8(ascii: ",") {
      at += 1
      return true
    }
    try take(bracket.closing, bracket == .object ? "a comma or }" : "a comma or ]", text)
    depth -= 1
    return false
  }

  /// The next member's name, with the colon behind it taken.
  public mutating func key(_ text: Span<UInt8>) throws(JSONValue.Malformed) -> StringPlace {
    guard peek(text) == UInt8(ascii: "\"") else { throw malformed("a key in quotes") }
    let place = try string(text)
    try take(UInt8(ascii: ":"), "a colon", text)
    return place
  }

  public mutating func string(_ text: Span<UInt8>) throws(JSONValue.Malformed) -> StringPlace {
    try take(UInt8(ascii: "\""), "a string", text)
    let start = at
    var hasEscapes = false
    while at < text.count {
      let byte = text[at]
      if byte == UInt8(ascii: "\"") {
        at += 1
        return StringPlace(range: start..<(at - 1), hasEscapes: hasEscapes)
      }
      if byte < 0x20 { throw malformed("no control character in a string") }
      at += 1
      guard byte == UInt8(ascii: "\\") else { continue }
      hasEscapes = true
      _ = try escape(text)
    }
    throw malformed("a closing quote")
  }

  /// The bytes of a string's text. What is no UTF-8 stays as it is.
  public func bytes(of place: StringPlace, _ text: Span<UInt8>) -> [UInt8] {
    guard place.hasEscapes else { return text.copied(place.range) }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(place.range.count)
    var reader = JSONCursor()
    reader.at = place.range.lowerBound
    while reader.at < place.range.upperBound {
      let byte = text[reader.at]
      reader.at += 1
      if byte != UInt8(ascii: "\\") {
        bytes.append(byte)
      } else if let scalar = try? reader.escape(text) {
        bytes += UTF8.encode(scalar).map { Array($0) } ?? []
      }
    }
    return bytes
  }

  /// What stands behind a backslash. A lone surrogate is no character.
  private mutating func escape(_ text: Span<UInt8>) throws(JSONValue.Malformed) -> Unicode.Scalar {
    guard at < text.count else { throw malformed("an escape") }
    let byte = text[at]
    at += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(byte)
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "b"): return "\u{8}"
    case UInt8(ascii: "f"): return "\u{C}"
    case UInt8(ascii: "u"):
      var code = try hexadecimal(text)
      if (0xD800..<0xDC00).contains(code), at + 1 < text.count, text[at] == UInt8(ascii: "\\"),
        text[at + 1] == UInt8(ascii: "u")
      {
        at += 2
        let low = try hexadecimal(text)
        guard (0xDC00..<0xE000).contains(low) else { throw malformed("a low surrogate") }
        code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
      }
      return Unicode.Scalar(code) ?? "\u{FFFD}"
    default: throw malformed("a known escape")
    }
  }

  private mutating func hexadecimal(_ text: Span<UInt8>) throws(JSONValue.Malformed) -> UInt32 {
    guard at + 4 <= text.count else { throw malformed("four hexadecimal digits") }
    var code: UInt32 = 0
    for place in at..<(at + 4) {
      switch text[place] {
      case let digit where digit >= 0x30 && digit <= 0x39: code = code << 4 + UInt32(digit - 0x30)
      case let digit where digit | 0x20 >= 0x61 && digit | 0x20 <= 0x66:
        code = code << 4 + UInt32(digit | 0x20 - 0x61 + 10)
      default: throw malformed("four hexadecimal digits")
      }
    }
    at += 4
    return code
  }

  public mutating func number(_ text: Span<UInt8>) throws(JSONValue.Malformed) -> NumberPlace {
    let start = peek(text) == UInt8(ascii: "-") ? at + 1 : at
    var end = start
    var isWhole = true
    while end < text.count {
      switch text[end] {
      case 0x30...0x39: break
      case UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"), UInt8(ascii: "+"),
        UInt8(ascii: "-"):
        isWhole = false
      default:
        return try finish(start, end, isWhole, text)
      }
      end += 1
    }
    return try finish(start, end, isWhole, text)
  }

  private mutating func finish(_ start: Int, _ end: Int, _ isWhole: Bool, _ text: Span<UInt8>)
    throws(JSONValue.Malformed) -> NumberPlace
  {
    let place = NumberPlace(range: at..<end, isWhole: isWhole)
    func isDigit(_ place: Int) -> Bool { text[place] >= 0x30 && text[place] <= 0x39 }
    guard start < end, isDigit(start), isDigit(end - 1),
      isWhole || double(place, text) != nil
    else { throw malformed("a value") }
    at = end
    return place
  }

  /// The number when it is whole and fits.
  public func integer(_ place: NumberPlace, _ text: Span<UInt8>) -> Int64? {
    guard place.isWhole else { return nil }
    let isNegative = text[place.range.lowerBound] == UInt8(ascii: "-")
    let digits = isNegative ? place.range.dropFirst() : place.range[...]
    if digits.count <= 18 {
      var value: Int64 = 0
      for at in digits { value = value * 10 + Int64(text[at] - 0x30) }
      return isNegative ? -value : value
    }
    return Int64(String(decoding: text.copied(place.range), as: UTF8.self))
  }

  public func double(_ place: NumberPlace, _ text: Span<UInt8>) -> Double? {
    // Whole and a fraction as one whole number: exact, and far quicker than strtod.
    var value: UInt64 = 0
    var scale = 1.0
    var hasPoint = false
    let isNegative = text[place.range.lowerBound] == UInt8(ascii: "-")
    let digits = isNegative ? place.range.dropFirst() : place.range[...]
    if digits.count <= 16 {
      for at in digits {
        let byte = text[at]
        if byte >= 0x30 && byte <= 0x39 {
          value = value * 10 + UInt64(byte - 0x30)
          if hasPoint { scale *= 10 }
        } else if byte == UInt8(ascii: "."), !hasPoint {
          hasPoint = true
        } else {
          return Double(String(decoding: text.copied(place.range), as: UTF8.self))
        }
      }
      if value < 1 << 53 { return (isNegative ? -1 : 1) * (Double(value) / scale) }
    }
    return Double(String(decoding: text.copied(place.range), as: UTF8.self))
  }

  /// Passes over a value of any kind.
  public mutating func skip(_ text: Span<UInt8>) throws(JSONValue.Malformed) {
    switch peek(text) {
    case UInt8(ascii: "{"):
      var isMore = try enter(.object, text)
      while isMore {
        _ = try key(text)
        try skip(text)
        isMore = try more(.object, text)
      }
    case UInt8(ascii: "["):
      var isMore = try enter(.array, text)
      while isMore {
        try skip(text)
        isMore = try more(.array, text)
      }
    case UInt8(ascii: "\""): _ = try string(text)
    case UInt8(ascii: "t"): try word("true", text)
    case UInt8(ascii: "f"): try word("false", text)
    case UInt8(ascii: "n"): try word("null", text)
    default: _ = try number(text)
    }
  }

  mutating func word(_ word: StaticString, _ text: Span<UInt8>) throws(JSONValue.Malformed) {
    guard text.has(word, at: at) else { throw malformed("a value") }
    at += word.utf8CodeUnitCount
  }

  /// Nothing but blanks may be left.
  public mutating func end(_ text: Span<UInt8>) throws(JSONValue.Malformed) {
    _ = peek(text)
    guard at == text.count else { throw malformed("the end of the line") }
  }
}
