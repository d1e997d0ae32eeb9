import Mail

/// What became of one recipient of a quarantined message: one byte on disk, overwritten in place as qmail's own marks are.
public enum QuarantinedState: UInt8, Sendable, Hashable, CaseIterable {
  /// `P` copied; the queue is not marked. Not ours unless ``Recovery`` finds otherwise.
  case pending = 0x50
  /// `M` we are about to mark the queue's record, or have done so: ours to release.
  case marked = 0x4D
  /// `X` qmail had finished this recipient before our mark: delivered or bounced. Never released.
  case finishedByQmail = 0x58
  /// `I` in doubt: a delivery was under way when we marked, or the machine went down between. Released only when asked by name.
  case inDoubt = 0x49
  /// `R` given back to qmail-queue.
  case released = 0x52
}

/// One recipient that was pending when its message was copied.
public struct QuarantinedRecipient: Hashable, Sendable {
  /// As the queue had it: for ``Channel/local``, with the virtual domain's prepend.
  public var address: Address
  public var channel: Channel
  /// Where its record begins in `local/…/ID` or `remote/…/ID`, in bytes.
  public var offset: Int64
  public var state: QuarantinedState

  public init(
    address: Address, channel: Channel, offset: Int64, state: QuarantinedState = .pending
  ) {
    self.address = address
    self.channel = channel
    self.offset = offset
    self.state = state
  }

  /// The record's length in the channel file: letter, address, NUL.
  var length: Int64 { Int64(address.bytes.count) + 2 }
}

/// The envelope of a quarantined message: everything needed to give it back, or to find out after a crash how far its retirement came.
public struct QuarantinedMessage: Hashable, Sendable {
  /// How far its retirement has come, as the copy tells.
  public enum Phase: UInt8, Sendable, Hashable {
    /// `C` copied; marking may have begun.
    case copied = 0x43
    /// `U` copied out of todo, while qmail-send was stopped; it is about to be taken out of the queue, or has been.
    case unprocessed = 0x55
    /// `K` every recipient has been dealt with: none is left to mark, and deliveries under way have been looked for.
    case marked = 0x4B
  }

  public var identity: EntryIdentity
  public var sender: Address
  /// Bytes of the message, qmail-queue's own Received line included.
  public var size: Int64
  /// When it was copied.
  public var taken: Timestamp
  /// `/proc/sys/kernel/random/boot_id` then: after a restart of the machine unflushed marks may be lost.
  public var boot: String
  public var phase: Phase
  public var recipients: [QuarantinedRecipient]

  public init(
    identity: EntryIdentity, sender: Address, size: Int64, taken: Timestamp, boot: String,
    phase: Phase = .copied, recipients: [QuarantinedRecipient]
  ) {
    self.identity = identity
    self.sender = sender
    self.size = size
    self.taken = taken
    self.boot = boot
    self.phase = phase
    self.recipients = recipients
  }

  /// How many recipients have this state.
  public func count(_ state: QuarantinedState) -> Int { recipients.count { $0.state == state } }
}
