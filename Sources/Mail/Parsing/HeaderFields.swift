/// The header fields that qwarden looks at, from one walk over the header.
struct HeaderFields {
  var isList = false
  var subject: [UInt8] = []
  /// Where the body begins; nil when the header does not end in these bytes.
  var body: Int?

  static let longestSubject = 998

  /// - Parameter at: where the header begins.
  init(_ bytes: Span<UInt8>, at start: Int) {
    var line = start
    var hasSubject = false
    var inSubject = false
    while line < bytes.count {
      guard let end = bytes.firstIndex(of: newline, from: line) else {
        if inSubject || (!hasSubject && bytes.hasIgnoringCase("subject:", at: line)) {
          take(bytes, inSubject ? line..<bytes.count : (line + 8)..<bytes.count)
        }
        break
      }
      var stop = end
      if stop > line, bytes[stop - 1] == UInt8(ascii: "\r") { stop -= 1 }
      if stop == line {
        body = end + 1
        break
      }
      let isFolded = bytes[line] == UInt8(ascii: " ") || bytes[line] == UInt8(ascii: "\t")
      if isFolded {
        if inSubject { take(bytes, line..<stop) }
      } else {
        inSubject = false
        switch bytes[line].asciiLowercased {
        case UInt8(ascii: "s") where !hasSubject && bytes.hasIgnoringCase("subject:", at: line):
          hasSubject = true
          inSubject = true
          take(bytes, (line + 8)..<stop)
        case UInt8(ascii: "l") where bytes.hasIgnoringCase("list-id:", at: line),
          UInt8(ascii: "m") where bytes.hasIgnoringCase("mailing-list:", at: line):
          isList = true
        case UInt8(ascii: "p") where bytes.hasIgnoringCase("precedence:", at: line):
          var value = line + 11
          while value < stop, Self.isBlank(bytes[value]) { value += 1 }
          var last = stop
          while last > value, Self.isBlank(bytes[last - 1]) { last -= 1 }
          if last - value == 4,
            bytes.hasIgnoringCase("bulk", at: value) || bytes.hasIgnoringCase("list", at: value)
          {
            isList = true
          }
        default: break
        }
      }
      line = end + 1
    }
    while let last = subject.last, Self.isBlank(last) { subject.removeLast() }
  }

  private mutating func take(_ bytes: Span<UInt8>, _ range: Range<Int>) {
    for i in range where subject.count < Self.longestSubject {
      if subject.isEmpty && Self.isBlank(bytes[i]) { continue }
      subject.append(bytes[i])
    }
  }

  private static func isBlank(_ byte: UInt8) -> Bool {
    byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t")
  }
}
