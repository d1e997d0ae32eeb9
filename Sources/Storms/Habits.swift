import Mail

/// Where each account of ours is used from. A client that an account has not been seen with, while it has been seen with another, is
/// strange to it for a quarter of an hour: a stolen password shows so before the first recipient has answered.
///
/// Networks count, not single addresses (the /24 of an IPv4 address). Bounded: two generations of 16,384 places and of 8,192 accounts.
struct Habits: Sendable {
  private var young: [UInt64: Timestamp] = [:]
  private var old: [UInt64: Timestamp] = [:]
  private var youngAccounts: [UInt64: Timestamp] = [:]
  private var oldAccounts: [UInt64: Timestamp] = [:]
  private static let places = 16_384
  private static let accounts = 8192
  private static let familiarity = 900.0

  /// Takes in a message of an account, and says whether its client is strange to it.
  mutating func note(_ facts: MailFacts, birth: Timestamp) -> Bool {
    guard let (account, place) = Self.keys(facts) else { return false }
    let first = min(young[place] ?? old[place] ?? birth, birth)
    let earliest = min(youngAccounts[account] ?? oldAccounts[account] ?? birth, birth)
    if young[place] == nil, young.count >= Self.places { (old, young) = (young, [:]) }
    if youngAccounts[account] == nil, youngAccounts.count >= Self.accounts {
      (oldAccounts, youngAccounts) = (youngAccounts, [:])
    }
    young[place] = first
    youngAccounts[account] = earliest
    return birth.seconds(since: first) < Self.familiarity && first.seconds(since: earliest) > 1
  }

  /// Whether the account was used from there before `time` already.
  func isUsual(_ facts: MailFacts, before time: Timestamp) -> Bool {
    guard let (_, place) = Self.keys(facts), let first = young[place] ?? old[place] else {
      return false
    }
    return first.seconds(since: time) < -1
  }

  mutating func clockWasSet(by shift: Duration) {
    young = young.mapValues { $0 + shift }
    old = old.mapValues { $0 + shift }
    youngAccounts = youngAccounts.mapValues { $0 + shift }
    oldAccounts = oldAccounts.mapValues { $0 + shift }
  }

  private static func keys(_ facts: MailFacts) -> (account: UInt64, place: UInt64)? {
    guard let user = facts.user, let client = facts.client else { return nil }
    let account = StableHash.of(user.utf8)
    return (account, account &* 31 &+ StableHash.of(network(client).utf8))
  }

  private static func network(_ client: String) -> Substring {
    guard !client.utf8.contains(UInt8(ascii: ":")),
      let dot = client.utf8.lastIndex(of: UInt8(ascii: "."))
    else { return client[...] }
    return client[..<dot]
  }
}
