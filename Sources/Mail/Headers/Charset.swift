/// The character sets that qwarden reads; mail in others is shown as it stands.
public enum Charset: Sendable, Hashable {
  case utf8
  case latin1
  case latin9
  case windows1252

  /// - Parameter name: as in a header, any case. US-ASCII is read as UTF-8, which it is a part of.
  public init?(_ name: some Collection<UInt8>) {
    switch String(decoding: name.map { $0.asciiLowercased }, as: UTF8.self) {
    case "utf-8", "utf8", "us-ascii", "ascii": self = .utf8
    case "iso-8859-1", "iso8859-1", "iso_8859-1", "latin1": self = .latin1
    case "iso-8859-15", "iso8859-15", "iso_8859-15", "latin9": self = .latin9
    case "windows-1252", "cp1252": self = .windows1252
    default: return nil
    }
  }

  /// The text; total: what is not UTF-8 becomes U+FFFD, an unassigned byte its Latin-1 code point.
  public func text(_ bytes: some Collection<UInt8>) -> String {
    if self == .utf8 { return String(decoding: bytes, as: UTF8.self) }
    var text = ""
    for byte in bytes { text.unicodeScalars.append(scalar(byte)) }
    return text
  }

  private func scalar(_ byte: UInt8) -> Unicode.Scalar {
    switch self {
    case .latin9:
      switch byte {
      case 0xA4: "€"
      case 0xA6: "Š"
      case 0xA8: "š"
      case 0xB4: "Ž"
      case 0xB8: "ž"
      case 0xBC: "Œ"
      case 0xBD: "œ"
      case 0xBE: "Ÿ"
      default: Unicode.Scalar(byte)
      }
    case .windows1252 where byte >= 0x80 && byte < 0xA0:
      Unicode.Scalar(Self.windows[Int(byte) - 0x80]) ?? Unicode.Scalar(byte)
    default: Unicode.Scalar(byte)
    }
  }

  /// 0x80 to 0x9F; the five that have no character stay as they are.
  private static let windows: [UInt16] = [
    0x20AC, 0x81, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160, 0x2039,
    0x0152, 0x8D, 0x017D, 0x8F, 0x90, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
    0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x9D, 0x017E, 0x0178,
  ]
}
