import Mail

/// The different domains of one message's remote recipients, at most 64: all of them to count with, and by name as long as they are
/// few, since thousands of messages of a flood are kept in mind and each may have a hundred recipients.
struct RecipientDomains: Sendable {
  /// What happens to a message of more domains says little about any of them.
  static let few = 3

  /// A part of ``StableHash``, in the order in which they were met.
  private(set) var hashes: [UInt32] = []
  /// None once there are more than ``few``.
  private(set) var named: [Domain] = []

  var count: Int { hashes.count }

  mutating func note(_ domain: Domain) {
    let hash = Self.hash(domain)
    guard count < 64, !hashes.contains(hash) else { return }
    hashes.append(hash)
    if count <= Self.few { named.append(domain) } else if !named.isEmpty { named = [] }
  }

  func contains(_ domain: Domain) -> Bool { hashes.contains(Self.hash(domain)) }

  static func hash(_ domain: Domain) -> UInt32 {
    UInt32(truncatingIfNeeded: StableHash.of(domain.text.utf8))
  }
}

extension Spread {
  mutating func add(_ domains: some Sequence<UInt32>, at time: Timestamp) {
    for hash in domains { add(UInt64(hash), at: time) }
  }
}
