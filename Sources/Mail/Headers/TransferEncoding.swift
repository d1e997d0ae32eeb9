/// How a body or an encoded word was made safe for transport (RFC 2045).
public enum TransferEncoding: Sendable, Hashable {
  case plain
  case quotedPrintable
  case base64

  /// - Parameter name: the value of Content-Transfer-Encoding; what is not known is taken as plain.
  public init(_ name: some Collection<UInt8>) {
    switch String(decoding: name.map { $0.asciiLowercased }, as: UTF8.self) {
    case "quoted-printable": self = .quotedPrintable
    case "base64": self = .base64
    default: self = .plain
    }
  }

  /// A body decoded, as far as it can be: broken escapes stay as they are, strange bytes in base64 are skipped.
  public func decode(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
    switch self {
    case .plain: Array(bytes)
    case .quotedPrintable: Self.quotedPrintable(bytes)
    case .base64: Self.base64(bytes, skipping: true) ?? []
    }
  }

  /// - Parameter skipping: pass over bytes outside the alphabet; else they make the whole invalid.
  static func base64(_ bytes: ArraySlice<UInt8>, skipping: Bool) -> [UInt8]? {
    var out: [UInt8] = []
    out.reserveCapacity(bytes.count / 4 * 3)
    var bits: UInt32 = 0
    var held = 0
    var isPadded = false
    for byte in bytes {
      let value: UInt8
      switch byte {
      case 65...90: value = byte - 65
      case 97...122: value = byte - 71
      case 48...57: value = byte + 4
      case UInt8(ascii: "+"): value = 62
      case UInt8(ascii: "/"): value = 63
      case UInt8(ascii: "="):
        // Joined pieces may each have their own padding.
        isPadded = true
        held = 0
        bits = 0
        continue
      default:
        if skipping { continue }
        return nil
      }
      if isPadded, !skipping { return nil }
      isPadded = false
      bits = bits << 6 | UInt32(value)
      held += 6
      if held >= 8 {
        held -= 8
        out.append(UInt8(truncatingIfNeeded: bits >> UInt32(held)))
        bits &= (1 << UInt32(held)) - 1
      }
    }
    // Six bits alone are no byte: something was cut off.
    return held == 6 && !skipping ? nil : out
  }

  private static func quotedPrintable(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
    var out: [UInt8] = []
    out.reserveCapacity(bytes.count)
    var at = bytes.startIndex
    while at < bytes.endIndex {
      let byte = bytes[at]
      at += 1
      guard byte == UInt8(ascii: "=") else {
        out.append(byte)
        continue
      }
      if at < bytes.endIndex, bytes[at] == newline {
        at += 1
      } else if at + 1 < bytes.endIndex, bytes[at] == UInt8(ascii: "\r"), bytes[at + 1] == newline {
        at += 2
      } else if at + 1 < bytes.endIndex, let high = bytes[at].hexadecimal,
        let low = bytes[at + 1].hexadecimal
      {
        out.append(high << 4 | low)
        at += 2
      } else {
        out.append(byte)
      }
    }
    return out
  }
}

extension UInt8 {
  /// The value of this hexadecimal digit, either case.
  var hexadecimal: UInt8? {
    switch self {
    case 48...57: self - 48
    case 65...70: self - 55
    case 97...102: self - 87
    default: nil
    }
  }
}
