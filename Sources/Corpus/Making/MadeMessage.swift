import Mail

/// How a recipient answers.
public enum Fate: Hashable, Sendable {
  case accept
  /// 550, for good.
  case reject
  /// 451, always.
  case deferred
  /// 451 until the message is so old, in seconds.
  case later(Double)
}

/// A message that the trace maker hands to its qmail.
public struct MadeMessage: Sendable {
  public struct Recipient: Sendable {
    public var address: Address
    public var fate: Fate
    /// Whom a local recipient forwards to.
    public var forward: (address: Address, fate: Fate)?

    public init(_ address: Address, _ fate: Fate = .accept) {
      self.address = address
      self.fate = fate
    }
  }

  public var sender: Address
  public var source: Source
  public var recipients: [Recipient]
  public var subject: String
  public var isList = false
  public var size: Int64 = 2500
  /// How a bounce to the sender is answered, where that is no user of ours.
  public var senderFate = Fate.accept
  /// The storm of the scenario that it belongs to; nil: innocent.
  public var storm: Int?
  /// In the place of a storm's number: the drizzle that every server knows, nobody's storm and no innocent's mail either.
  static let drizzle = -1

  public init(
    _ sender: Address, _ source: Source, to recipients: [Recipient], subject: String = "hello",
    storm: Int? = nil
  ) {
    self.sender = sender
    self.source = source
    self.recipients = recipients
    self.subject = subject
    self.storm = storm
  }
}

/// One stream of mail: each says when its next message comes. Lazy, so that a day costs no memory.
public protocol MailStream: Sendable {
  /// Seconds since the start, never less than at the call before; nil when there is no more.
  mutating func next() -> (at: Double, message: MadeMessage)?
}
