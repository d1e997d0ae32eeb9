import Mail

/// Where each account of ours is used from. A client that an account has not been seen with, while it has been seen with another, is
/// strange to it for a quarter of an hour: a stolen password shows so before the first recipient has answered.
///
/// Networks count, not single addresses. Bounded (``Generations``).
struct Habits: Sendable {
  /// When each was first seen.
  private var places = Generations(like: Timestamp(nanoseconds: 0))
  private var accounts = Generations(like: Timestamp(nanoseconds: 0))
  private static let familiarity = 900.0

  /// Takes in a message of an account, and says whether its client is strange to it.
  mutating func note(_ facts: MailFacts, birth: Timestamp) -> Bool {
    guard let (account, place) = Self.keys(facts) else { return false }
    func earlier(_ seen: inout Timestamp) -> Timestamp {
      seen = min(seen, birth)
      return seen
    }
    let first = places.update(place, default: birth, earlier)
    let earliest = accounts.update(account, default: birth, earlier)
    return birth.seconds(since: first) < Self.familiarity && first.seconds(since: earliest) > 1
  }

  /// Whether the account was used from there before `time` already.
  func isUsual(_ facts: MailFacts, before time: Timestamp) -> Bool {
    guard let (_, place) = Self.keys(facts), let first = places[place] else {
      return false
    }
    return first.seconds(since: time) < -1
  }

  mutating func clockWasSet(by shift: Duration) {
    places.change { $0 = $0 + shift }
    accounts.change { $0 = $0 + shift }
  }

  private static func keys(_ facts: MailFacts) -> (account: UInt64, place: UInt64)? {
    guard let user = facts.user, let client = facts.client else { return nil }
    let account = StableHash.of(user.utf8)
    return (account, account &* 31 &+ StableHash.of(ClientRange.network(of: client)))
  }
}
