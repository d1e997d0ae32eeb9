/// Records of qmail's queue files: a letter, text, a NUL (INTERNALS; qmail-send.c reads them with `getln(…, '\0')`).
public enum QueueRecords {
  /// Calls `record` for each whole record with its letter and where its text stands (the letter's offset is one less).
  /// An empty record (a NUL alone) has the letter 0.
  /// - Returns: bytes consumed; what follows is an unterminated tail, which qmail itself ignores.
  @discardableResult
  public static func scan<E: Error>(
    _ bytes: Span<UInt8>, _ record: (_ letter: UInt8, _ text: Range<Int>) throws(E) -> Void
  ) throws(E) -> Int {
    var start = 0
    while let end = bytes.firstIndex(of: 0, from: start) {
      try record(bytes[start], min(start + 1, end)..<end)
      start = end + 1
    }
    return start
  }
}
