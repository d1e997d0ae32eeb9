import Mail

/// Strangers whose mail has reached our users: a bounce to one of them is an ordinary failure, storm or not.
///
/// Bounded (``Generations``).
struct Acquaintances: Sendable {
  private var known = Generations(like: true)

  mutating func delivered(_ facts: MailFacts) {
    if let client = facts.client { add(StableHash.of(client.utf8)) }
    if !facts.sender.isBounceSender { add(StableHash.of(facts.sender.bytes)) }
  }

  private mutating func add(_ hash: UInt64) { known.update(hash, default: true) { _ in } }

  /// Whether the client or the very sender of a bounce's original is known.
  func include(_ origin: Source.Origin) -> Bool {
    if holds(StableHash.of(origin.sender.lowercased.bytes)) { return true }
    guard case .network(let client, _, _) = origin.source else { return false }
    return holds(StableHash.of(client.utf8))
  }

  func include(_ facts: MailFacts) -> Bool {
    facts.client.map { holds(StableHash.of($0.utf8)) } ?? false
      || !facts.sender.isBounceSender && holds(StableHash.of(facts.sender.bytes))
  }

  private func holds(_ hash: UInt64) -> Bool { known[hash] != nil }
}
