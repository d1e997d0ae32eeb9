import Mail
import QmailQueue

/// A delivery that ended for good, as qmail-send's log tells it.
public struct FinishedDelivery: Sendable, Hashable {
  public var id: UInt64
  /// The process that queued the message: numbers come again, but not with the same one. nil: queued before the log was read.
  public var queuedBy: Int?
  public var channel: Channel
  /// As the log writes it.
  public var recipient: Address

  public init(id: UInt64, queuedBy: Int?, channel: Channel, recipient: Address) {
    (self.id, self.queuedBy) = (id, queuedBy)
    (self.channel, self.recipient) = (channel, recipient)
  }

  /// As qmail-send's logsafe writes addresses (qmail-send.c, qsutil.c): newlines as slashes, what cannot be printed as underscores.
  func isTo(_ other: QuarantinedRecipient) -> Bool {
    other.channel == channel
      && other.address.bytes.elementsEqual(recipient.bytes) { stored, logged in
        stored == logged || logged == UInt8(ascii: "_")
          || logged == UInt8(ascii: "/") && stored == UInt8(ascii: "\n")
      }
  }
}
