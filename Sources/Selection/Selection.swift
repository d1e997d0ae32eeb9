import Mail

/// Which messages are meant: every condition given must hold. Without any condition nothing is meant, unless ``isEverything``.
///
/// Conditions are asked in the order in which a message is read, so that no more of it is read than they need: ``mayMatch(_:now:)`` before
/// the message file is opened, ``matches(_:now:)`` with its first lines, ``matches(_:)-(MessageHeader)`` with its header, ``bodySearch(_:)`` last.
public struct Selection: Sendable {
  public var ids: Set<UInt64> = []
  /// Whether a message is one of those that something else names, such as an incident; asked with size and source known.
  public var isMember: (@Sendable (Entry) -> Bool)?
  public var senders: [Pattern] = []
  public var recipients: [Pattern] = []
  public var from: [Pattern] = []
  public var to: [Pattern] = []
  public var cc: [Pattern] = []
  public var subjects: [Pattern] = []
  public var headers: [HeaderCondition] = []
  public var bodies: [Pattern] = []
  public var dates: [DateCondition] = []
  public var clients: [ClientRange] = []
  public var users: [Pattern] = []
  public var uids: Set<UInt32> = []
  public var olderThan: Duration?
  public var newerThan: Duration?
  public var sizes: [SizeCondition] = []
  public var isBounce = false
  public var isDoubleBounce = false
  public var isUnprocessed = false
  public var doneState: DoneState?
  /// Has recipients on this channel still to be tried.
  public var channels: Set<Channel> = []
  /// All messages, said on purpose.
  public var isEverything = false

  /// How many of a message's recipients are done: delivered, or failed for good.
  public enum DoneState: String, Sendable, CaseIterable {
    case none, some, all
  }

  public init() {}

  /// No condition was given.
  public var isEmpty: Bool {
    ids.isEmpty && isMember == nil && senders.isEmpty && sizes.isEmpty && !needsRecipients
      && !needsSource && !needsHeader && olderThan == nil && newerThan == nil
      && !isBounce && !isDoubleBounce && !isUnprocessed && !isEverything
  }

  /// A condition looks at the recipients.
  public var needsRecipients: Bool {
    !recipients.isEmpty || !channels.isEmpty || doneState != nil
  }
  private var needsSource: Bool { !clients.isEmpty || !users.isEmpty || !uids.isEmpty }
  /// A condition looks at the message's size, or where it came from.
  public var needsMessage: Bool { needsSource || !sizes.isEmpty || isMember != nil || needsHeader }
  /// A condition looks at the header or the body.
  public var needsHeader: Bool {
    !from.isEmpty || !to.isEmpty || !cc.isEmpty || !subjects.isEmpty || !headers.isEmpty
      || !dates.isEmpty || needsBody
  }
  /// A condition looks at the body.
  public var needsBody: Bool { !bodies.isEmpty }

  /// Whether the conditions on what is known before the message file is opened hold.
  /// - Parameter now: what ages are counted from.
  public func mayMatch(_ entry: Entry, now: Timestamp) -> Bool {
    if !ids.isEmpty, !ids.contains(entry.identity.id) { return false }
    let age = now.seconds(since: entry.identity.birth)
    if let olderThan, age < olderThan.inSeconds { return false }
    if let newerThan, age > newerThan.inSeconds { return false }
    if isDoubleBounce, !entry.sender.isDoubleBounce { return false }
    if isBounce, !entry.sender.isBounceSender { return false }
    if isUnprocessed, !entry.isUnprocessed { return false }
    if channels.contains(.local), entry.local.allSatisfy(\.isDone) { return false }
    if channels.contains(.remote), entry.remote.allSatisfy(\.isDone) { return false }
    if let doneState, doneState != Self.doneState(of: entry) { return false }
    if !senders.allSatisfy({ $0.matchesWhole(entry.sender.bytes) }) { return false }
    return recipients.allSatisfy { pattern in
      entry.recipients.contains { pattern.matchesWhole($0.bytes) }
    }
  }

  /// Whether all conditions on the envelope hold, on size and source too.
  public func matches(_ entry: Entry, now: Timestamp) -> Bool {
    mayMatch(entry, now: now) && sizes.allSatisfy { $0.holds(for: entry.size) }
      && matches(entry.source) && isMember?(entry) ?? true
  }

  private static func doneState(of entry: Entry) -> DoneState {
    let pending = entry.pendingCount
    if pending == 0 { return entry.isUnprocessed ? .none : .all }
    return pending == entry.local.count + entry.remote.count + entry.unrouted.count ? .none : .some
  }

  private func matches(_ source: Source) -> Bool {
    if clients.isEmpty, users.isEmpty, uids.isEmpty { return true }
    switch source {
    case .network(let client, _, let user):
      return uids.isEmpty && clients.allSatisfy { $0.contains(client) }
        && users.allSatisfy { pattern in user.map { pattern.matchesWhole($0.utf8) } ?? false }
    case .uid(let uid): return clients.isEmpty && users.isEmpty && uids.contains(uid)
    case .alias, .bounce, .unknown: return false
    }
  }
}

/// `>100k`, `<2M`, `>=512`: a bound on a message's size in bytes (k, M and G are powers of 1000).
public struct SizeCondition: Sendable, Hashable {
  private let bound: Int64
  private let wantsMore: Bool

  public init?(_ text: String) {
    guard let first = text.first, first == ">" || first == "<" else { return nil }
    var rest = text.dropFirst()
    let inclusive = rest.first == "="
    if inclusive { rest = rest.dropFirst() }
    let factors: [Character: Int64] = ["k": 1000, "M": 1_000_000, "G": 1_000_000_000]
    var factor: Int64 = 1
    if let last = rest.last, let unit = factors[last] {
      factor = unit
      rest = rest.dropLast()
    }
    guard let number = Int64(rest), number >= 0, number < 1 << 33 else { return nil }
    wantsMore = first == ">"
    // Both forms become an inclusive bound.
    bound = number * factor + (inclusive ? 0 : wantsMore ? 1 : -1)
  }

  /// Whether a message of so many bytes is meant.
  public func holds(for size: Int64) -> Bool { wantsMore ? size >= bound : size <= bound }
}
