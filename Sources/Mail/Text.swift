/// Bytes from mail as text for machine-readable output.
public enum Text {
  /// UTF-8 where the bytes are valid UTF-8, else each byte as its Latin-1 code point (the trace format's rule).
  public static func decode(_ bytes: some Collection<UInt8>) -> String {
    if let text = String(validating: bytes, as: UTF8.self) { return text }
    var text = ""
    for byte in bytes { text.unicodeScalars.append(Unicode.Scalar(byte)) }
    return text
  }
}

/// Makes hostile bytes safe for a sink. Each sink has its own rule; nothing else may print mail content.
public enum Escaping {
  /// For a terminal or a journal text: printable UTF-8 stays, every control byte, bidirectional override and
  /// invalid byte becomes `\xNN` (or `\u{…}`), a backslash is doubled.
  public static func terminal(_ bytes: some Collection<UInt8>) -> String {
    if bytes.allSatisfy({ $0 >= 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "\\") }) {
      return String(decoding: bytes, as: UTF8.self)
    }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      return bytes.reduce(into: "") { out, byte in
        if byte == UInt8(ascii: "\\") {
          out += "\\\\"
        } else if byte >= 0x20 && byte < 0x7F {
          out.unicodeScalars.append(Unicode.Scalar(byte))
        } else {
          out += hex(byte)
        }
      }
    }
    var out = ""
    for scalar in text.unicodeScalars {
      if scalar == "\\" {
        out += "\\\\"
      } else if isInvisible(scalar) {
        out +=
          scalar.value < 0x80
          ? hex(UInt8(scalar.value)) : "\\u{\(String(scalar.value, radix: 16, uppercase: true))}"
      } else {
        out.unicodeScalars.append(scalar)
      }
    }
    return out
  }

  public static func terminal(_ text: String) -> String { terminal(Array(text.utf8)) }

  /// For JSON that another encoder wrote: every character beyond ASCII that does not show or turns text around becomes `\uNNNN`, which says the
  /// same; JSON has such in strings only.
  public static func json(_ bytes: [UInt8]) -> [UInt8] {
    if bytes.allSatisfy({ $0 < 0x7F }) { return bytes }
    var out: [UInt8] = []
    out.reserveCapacity(bytes.count)
    for scalar in String(decoding: bytes, as: UTF8.self).unicodeScalars {
      json(scalar, to: &out)
    }
    return out
  }

  /// One character of a JSON string; what is of ASCII and shows, as it is.
  static func json(_ scalar: Unicode.Scalar, to out: inout [UInt8]) {
    guard scalar.value >= 0x7F, isInvisible(scalar) else {
      out += String(scalar).utf8
      return
    }
    let digits = Array("0123456789abcdef".utf8)
    for unit in String(scalar).utf16 {
      out += "\\u".utf8
      for shift in [12, 8, 4, 0] { out.append(digits[Int(unit >> UInt16(shift) & 15)]) }
    }
  }

  private static func isInvisible(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator,
      .paragraphSeparator:
      true
    default: false
    }
  }

  private static func hex(_ byte: UInt8) -> String {
    let digits = Array("0123456789ABCDEF")
    return "\\x\(digits[Int(byte >> 4)])\(digits[Int(byte & 15)])"
  }
}
