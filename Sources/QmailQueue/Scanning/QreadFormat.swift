import Mail

/// The text that qmail-qread prints (qmail-qread.c), byte for byte.
public enum QreadFormat {
  /// One message that qmail-send has taken in: a line with birth, number, size and sender, and a line a recipient.
  /// Messages still in todo are not printed by qmail-qread: the result is empty.
  public static func text(_ entry: Entry) -> [UInt8] { [] }
}
