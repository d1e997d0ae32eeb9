/// `local/…/ID` or `remote/…/ID`: one `T<address>\0` (to do) or `D<address>\0` (done) a recipient.
public struct RecipientFile: Hashable, Sendable {
  public var recipients: [Recipient]
  /// Offset of each recipient's letter, the byte that `markdone` in qmail-send.c overwrites.
  public var offsets: [Int]
  /// Bytes after the last NUL: the file is still being written, or was cut. qmail ignores them.
  public var tail: Int
  /// Records of another letter, which qmail-send warns about and skips.
  public var strange: Int

  public init(_ bytes: [UInt8]) { self.init(bytes.span) }

  public init(_ bytes: Span<UInt8>) {
    var recipients: [Recipient] = []
    var offsets: [Int] = []
    var strange = 0
    let consumed = QueueRecords.scan(bytes) { letter, text in
      guard letter == UInt8(ascii: "T") || letter == UInt8(ascii: "D") else {
        strange += 1
        return
      }
      offsets.append(text.lowerBound - 1)
      recipients.append(
        Recipient(address: Address(bytes.copied(text)), isDone: letter == UInt8(ascii: "D")))
    }
    self.recipients = recipients
    self.offsets = offsets
    self.strange = strange
    tail = bytes.count - consumed
  }

  public static func count(_ bytes: [UInt8]) -> (pending: Int, done: Int) { count(bytes.span) }

  /// Recipients to do and done, without reading the addresses.
  public static func count(_ bytes: Span<UInt8>) -> (pending: Int, done: Int) {
    var pending = 0
    var done = 0
    QueueRecords.scan(bytes) { letter, _ in
      if letter == UInt8(ascii: "T") {
        pending += 1
      } else if letter == UInt8(ascii: "D") {
        done += 1
      }
    }
    return (pending, done)
  }
}
