/// `info/…/ID`: the sender, `F<sender>\0`. Its mtime is the message's birth.
public enum InfoFile {
  public static func sender(_ bytes: [UInt8]) -> Address? { sender(bytes.span) }

  /// The sender, or nil when the file is half-written or no info file.
  public static func sender(_ bytes: Span<UInt8>) -> Address? {
    guard bytes.count >= 2, bytes[0] == UInt8(ascii: "F"),
      let end = bytes.firstIndex(of: 0, from: 1)
    else { return nil }
    return Address(bytes.copied(1..<end))
  }
}
