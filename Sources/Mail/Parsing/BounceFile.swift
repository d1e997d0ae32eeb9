/// `bounce/ID`: a paragraph `<recipient>:\nreport\n\n` for each recipient that failed for good.
///
/// qmail-send's `addbounce` turns every empty line inside a report into `/`, so an empty line ends a paragraph and nothing a remote
/// server said can forge one.
public enum BounceFile {
  public static func failures(_ bytes: [UInt8]) -> (count: Int, consumed: Int) {
    failures(bytes.span)
  }

  /// Counts whole paragraphs.
  /// - Returns: their number, and how many bytes they fill: a later count may begin there.
  public static func failures(_ bytes: Span<UInt8>) -> (count: Int, consumed: Int) {
    var count = 0
    var consumed = 0
    var at = 0
    while let end = bytes.firstIndex(of: newline, from: at) {
      if end > consumed, bytes[end - 1] == newline {
        if bytes[consumed] == UInt8(ascii: "<") { count += 1 }
        consumed = end + 1
      }
      at = end + 1
    }
    return (count, consumed)
  }
}
