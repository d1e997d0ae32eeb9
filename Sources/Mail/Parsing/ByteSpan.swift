/// What parsers need of a run of bytes. Parsers take `Span<UInt8>`: no copy, bounds checked, cannot outlive its buffer.
extension Span<UInt8> {
  /// A copy of these bytes.
  public func copied(_ range: Range<Int>) -> [UInt8] {
    extracting(range).withUnsafeBufferPointer { Array($0) }
  }

  /// Index of the first `byte` at or after `start`, or nil.
  public func firstIndex(of byte: UInt8, from start: Int) -> Int? {
    var at = start
    while at < count {
      if self[at] == byte { return at }
      at += 1
    }
    return nil
  }

  /// Whether `text` stands at `at`.
  func has(_ text: StaticString, at: Int) -> Bool {
    guard at >= 0, count - at >= text.utf8CodeUnitCount else { return false }
    return text.withUTF8Buffer { wanted in
      for i in 0..<wanted.count where self[at + i] != wanted[i] { return false }
      return true
    }
  }

  /// Whether `range` holds `text` and nothing else.
  public func isWord(_ text: StaticString, at range: Range<Int>) -> Bool {
    range.count == text.utf8CodeUnitCount && has(text, at: range.lowerBound)
  }

  /// Whether `text`, given in lower case, stands at `at`, ASCII case ignored.
  func hasIgnoringCase(_ text: StaticString, at: Int) -> Bool {
    guard at >= 0, count - at >= text.utf8CodeUnitCount else { return false }
    return text.withUTF8Buffer { wanted in
      for i in 0..<wanted.count where self[at + i].asciiLowercased != wanted[i] { return false }
      return true
    }
  }

  /// The decimal number that fills `range` wholly, or nil when empty, not digits or over 63 bits.
  func number(_ range: Range<Int>) -> Int? {
    guard !range.isEmpty, range.count <= 19 else { return nil }
    var value = 0
    for i in range {
      let digit = Int(self[i]) - 48
      guard digit >= 0, digit <= 9 else { return nil }
      let (product, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, carry) = product.addingReportingOverflow(digit)
      if overflow || carry { return nil }
      value = sum
    }
    return value
  }
}

let newline = UInt8(ascii: "\n")
