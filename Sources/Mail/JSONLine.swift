/// Builds one JSON object on one line, keys in the order they are added, without Foundation.
///
/// Listing commands print hundreds of thousands of these, and programs read them: key order is part of the contract's look.
public struct JSONLine: Sendable {
  private var bytes: [UInt8] = [UInt8(ascii: "{")]

  public init() {}

  public mutating func add(_ key: String, _ value: String) {
    addKey(key)
    Self.append(value, to: &bytes)
  }
  /// Hostile bytes: UTF-8 where valid, else Latin-1 code points (the trace format's rule).
  public mutating func add(_ key: String, bytes value: [UInt8]) {
    addKey(key)
    Self.append(value, to: &bytes)
  }
  public mutating func add(_ key: String, _ value: Int) {
    addKey(key)
    bytes += String(value).utf8
  }
  public mutating func add(_ key: String, _ value: UInt64) {
    addKey(key)
    bytes += String(value).utf8
  }
  /// Not-a-number and infinities become null. At most three decimals.
  public mutating func add(_ key: String, _ value: Double) {
    addKey(key)
    bytes += Self.number(value).utf8
  }
  public mutating func add(_ key: String, _ value: Bool) {
    addKey(key)
    bytes += (value ? "true" : "false").utf8
  }
  public mutating func add(_ key: String, _ value: JSONLine) {
    addKey(key)
    bytes += value.closed
  }
  public mutating func add(_ key: String, _ values: [JSONLine]) {
    addArray(key, values) { $1 += $0.closed }
  }
  public mutating func add(_ key: String, _ values: [String]) {
    addArray(key, values) { Self.append($0, to: &$1) }
  }
  public mutating func add(_ key: String, bytes values: [[UInt8]]) {
    addArray(key, values) { Self.append($0, to: &$1) }
  }
  public mutating func add(_ key: String, _ values: [UInt64]) {
    addArray(key, values) { $1 += String($0).utf8 }
  }
  /// For what is not known or not there.
  public mutating func addNull(_ key: String) {
    addKey(key)
    bytes += "null".utf8
  }

  /// The object without a newline.
  public var closed: [UInt8] { bytes + [UInt8(ascii: "}")] }
  public var text: String { String(decoding: closed, as: UTF8.self) }

  private mutating func addArray<T>(
    _ key: String, _ values: [T], _ append: (T, inout [UInt8]) -> Void
  ) {
    addKey(key)
    bytes.append(UInt8(ascii: "["))
    for (index, value) in values.enumerated() {
      if index > 0 { bytes.append(UInt8(ascii: ",")) }
      append(value, &bytes)
    }
    bytes.append(UInt8(ascii: "]"))
  }

  private mutating func addKey(_ key: String) {
    if bytes.count > 1 { bytes.append(UInt8(ascii: ",")) }
    Self.append(key, to: &bytes)
    bytes.append(UInt8(ascii: ":"))
  }

  private static func number(_ value: Double) -> String {
    guard value.isFinite, abs(value) < 9e15 else { return "null" }
    let thousandths = Int64((value * 1000).rounded())
    let (whole, rest) = thousandths.magnitude.quotientAndRemainder(dividingBy: 1000)
    let sign = thousandths < 0 ? "-" : ""
    if rest == 0 { return "\(sign)\(whole)" }
    var decimals = String(rest + 1000).dropFirst()
    while decimals.last == "0" { decimals.removeLast() }
    return "\(sign)\(whole).\(decimals)"
  }

  private static func append(_ value: [UInt8], to bytes: inout [UInt8]) {
    if !appendPlain(value, to: &bytes) { append(Text.decode(value), to: &bytes) }
  }

  private static func append(_ text: String, to bytes: inout [UInt8]) {
    var text = text
    if text.withUTF8({ appendPlain($0, to: &bytes) }) { return }
    bytes.append(UInt8(ascii: "\""))
    // Beyond ASCII too there are characters that act: a terminal may take U+009B for ESC [, and U+202E turns text around.
    for scalar in text.unicodeScalars {
      if scalar.value < 0x7F {
        append(UInt8(scalar.value), to: &bytes)
      } else {
        Escaping.json(scalar, to: &bytes)
      }
    }
    bytes.append(UInt8(ascii: "\""))
  }

  /// Appends what stands in JSON as it is, whole.
  /// - Returns: false, with nothing appended, where something has to be escaped.
  private static func appendPlain(
    _ value: some Collection<UInt8>, to bytes: inout [UInt8]
  ) -> Bool {
    guard value.allSatisfy(isPlain) else { return false }
    bytes.append(UInt8(ascii: "\""))
    bytes.append(contentsOf: value)
    bytes.append(UInt8(ascii: "\""))
    return true
  }

  private static func isPlain(_ byte: UInt8) -> Bool {
    byte >= 0x20 && byte < 0x7F && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\")
  }

  private static func append(_ byte: UInt8, to bytes: inout [UInt8]) {
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"):
      bytes.append(UInt8(ascii: "\\"))
      bytes.append(byte)
    case UInt8(ascii: "\n"): bytes += "\\n".utf8
    case UInt8(ascii: "\t"): bytes += "\\t".utf8
    case 0..<0x20:
      bytes += "\\u00".utf8
      let digits = Array("0123456789abcdef".utf8)
      bytes.append(digits[Int(byte >> 4)])
      bytes.append(digits[Int(byte & 15)])
    default: bytes.append(byte)
    }
  }
}
