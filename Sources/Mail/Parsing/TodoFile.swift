/// `todo/ID` and `intd/ID`: the envelope as qmail-queue wrote it, `u<uid>\0p<pid>\0F<sender>\0T<recipient>\0…`.
public struct TodoFile: Hashable, Sendable {
  /// Who ran qmail-queue.
  public var uid: UInt32
  /// qmail-queue's process, `qp` in qmail-send's log.
  public var pid: Int
  public var sender: Address
  public var recipients: [Address]

  public init?(_ bytes: [UInt8]) { self.init(bytes.span) }

  /// nil when half-written (no sender, or an unterminated tail) or holding a record that qmail-send would refuse.
  public init?(_ bytes: Span<UInt8>) {
    var uid = 0
    var pid = 0
    var sender: Address?
    var recipients: [Address] = []
    var isSound = true
    let consumed = QueueRecords.scan(bytes) { letter, text in
      switch letter {
      case UInt8(ascii: "u"): uid = bytes.number(text) ?? 0
      case UInt8(ascii: "p"): pid = bytes.number(text) ?? 0
      case UInt8(ascii: "F"): sender = Address(bytes.copied(text))
      case UInt8(ascii: "T"): recipients.append(Address(bytes.copied(text)))
      default: isSound = false
      }
    }
    guard let sender, isSound, consumed == bytes.count else { return nil }
    self.uid = UInt32(truncatingIfNeeded: uid)
    self.pid = pid
    self.sender = sender
    self.recipients = recipients
  }
}
