import Mail

/// Foreign senders whose mail has come in. A user's .qmail or vpopmail sends some of it on to another host, under its sender and by the uid
/// that delivers here: nobody of that uid has written it. Nor has anybody written what a program answers them, such as a holiday notice.
///
/// What came in once may be sent on eight times, so that a flood cannot hide behind a name that was met. Bounded (``Generations``).
struct Forwarding: Sendable {
  private struct Copies {
    var allowed: Int32 = 0
    /// Sent on, and not bounced.
    var made: Int32 = 0
  }
  private var copies = Generations(like: Copies())

  mutating func cameIn(_ sender: Address) {
    copies.update(Self.key(sender), default: Copies()) { $0.allowed = min($0.allowed, 1000) + 8 }
  }

  /// Whether this is one more copy of what came in.
  mutating func isSentOn(_ sender: Address) -> Bool { isOneMore(Self.key(sender)) }

  /// Whether this is one more answer to somebody whose mail came in.
  mutating func isAnswer(to circle: UInt64) -> Bool { isOneMore(circle) }

  private mutating func isOneMore(_ key: UInt64) -> Bool {
    guard let known = copies[key], known.allowed > 0 else { return false }
    copies.update(key, default: known) {
      $0.allowed -= 1; $0.made += 1
    }
    return true
  }

  mutating func hasBounced(_ sender: Address) -> Bool {
    guard let known = copies[Self.key(sender)], known.made > 0 else { return false }
    copies.update(Self.key(sender), default: known) { $0.made -= 1 }
    return true
  }

  private static func key(_ sender: Address) -> UInt64 { StableHash.of(sender.bytes) }
}

extension StormDetector {
  /// Whether a local program only sends this on. Each copy is to be asked about once.
  mutating func isSentOn(_ facts: MailFacts) -> Bool {
    guard facts.uid != nil, facts.traffic != .inbound else { return false }
    // One recipient's circle is its key.
    if facts.remoteCount == 1, forwarding.isAnswer(to: facts.circle) { return true }
    return mayBeSentOn(facts) && forwarding.isSentOn(facts.sender)
  }

  /// The same of a message that a bounce tells about.
  mutating func hasBouncedSentOn(_ facts: MailFacts) -> Bool {
    mayBeSentOn(facts) && forwarding.hasBounced(facts.sender)
  }

  private func mayBeSentOn(_ facts: MailFacts) -> Bool {
    facts.uid != nil && !facts.sender.isBounceSender && !localDomains.contains(facts.sender.domain)
  }
}
