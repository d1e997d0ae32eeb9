import Mail
import Policy
import Response
import Storms

/// Two policies over the same observations, side by side: what they decide alike is counted and forgotten, what they decide differently is
/// kept.
public struct Comparison: Sendable {
  /// What became of a storm, an address or a message under one policy.
  public enum Fate: Sendable, Hashable {
    /// There was no such storm, or no reason to act.
    case nothing
    case done
    /// Only observe mode holds it.
    case wouldBeDone
    case held(Guard)

    init(_ decision: PlannedAction.Decision) {
      switch decision {
      case .perform: self = .done
      case .hold(.observeMode, _): self = .wouldBeDone
      case .hold(let by, _): self = .held(by)
      }
    }

    public var text: String {
      switch self {
      case .nothing: "not called for"
      case .done: "done"
      case .wouldBeDone: "would be done, but for observe mode"
      case .held(let by): "held by \(by.rawValue)"
      }
    }
  }

  /// The fates under the first and the second policy.
  public struct Fates: Sendable, Hashable {
    public var first: Fate
    public var second: Fate
    fileprivate subscript(isSecond: Bool) -> Fate {
      get { isSecond ? second : first }
      set { if isSecond { second = newValue } else { first = newValue } }
    }
  }

  /// A storm that both saw begin, or only one.
  public struct Pair: Sendable {
    public var first: Sight?
    public var second: Sight?

    public struct Sight: Sendable {
      public var storm: Storm
      public var told: Timestamp
    }

    fileprivate func matches(_ storm: Storm, isSecond: Bool) -> Bool {
      guard (isSecond ? second : first) == nil, let other = (isSecond ? first : second)?.storm,
        other.kind == storm.kind
      else { return false }
      return other.offenders.isEmpty && storm.offenders.isEmpty
        || !Set(other.offenders).isDisjoint(with: storm.offenders)
    }
  }

  public struct Messages: Sendable {
    public var count = 0
    /// Up to three of them.
    public var samples: [UInt64] = []
  }

  public private(set) var storms: [Pair] = []
  /// Blocks by address, those alike too.
  public private(set) var blocks: [Address: Fates] = [:]
  private var first: Replay
  private var second: Replay
  /// Messages of which one policy has not said anything yet.
  private var waiting: [EntryIdentity: Fates] = [:]
  private var settled: [Fates: Messages] = [:]

  public init(_ first: Policy, _ second: Policy, header: TraceReader.Header) {
    self.first = Replay(policy: first, header: header)
    self.second = Replay(policy: second, header: header)
  }

  /// The trace goes on with other names of this server.
  public mutating func rename(_ header: TraceReader.Header) {
    first.rename(header)
    second.rename(header)
  }

  /// Shows one observation to both.
  public mutating func observe(_ observation: Observation) {
    for event in first.observe(observation) { take(event, isSecond: false) }
    for event in second.observe(observation) { take(event, isSecond: true) }
  }

  /// Messages by what became of them, the most numerous first.
  public var messages: [(fates: Fates, messages: Messages)] {
    var all = settled
    for (identity, fates) in waiting { all[fates, default: Messages()].add(identity) }
    return all.map { ($0.key, $0.value) }
      .sorted { ($1.messages.count, $0.fates.text) < ($0.messages.count, $1.fates.text) }
  }

  private mutating func take(_ event: ReplayEvent, isSecond: Bool) {
    switch event.what {
    case .began(let storm):
      let sight = Pair.Sight(storm: storm, told: event.time)
      let place =
        storms.lastIndex { $0.matches(storm, isSecond: isSecond) }
        ?? {
          storms.append(Pair())
          return storms.count - 1
        }()
      if isSecond { storms[place].second = sight } else { storms[place].first = sight }
    case .changed, .ended: break
    case .action(let action):
      let fate = Fate(action.decision)
      switch action.action {
      case .alert: break
      case .block(let entry, _):
        // What was held at first and done later is done.
        var fates = blocks[entry] ?? Fates(first: .nothing, second: .nothing)
        if fates[isSecond] != .done { fates[isSecond] = fate }
        blocks[entry] = fates
      case .quarantine(let identity):
        var fates = waiting[identity] ?? Fates(first: .nothing, second: .nothing)
        fates[isSecond] = fate
        if fates[!isSecond] == .nothing {
          waiting[identity] = fates
        } else {
          waiting[identity] = nil
          settled[fates, default: Messages()].add(identity)
        }
      }
    }
  }
}

extension Comparison.Messages {
  fileprivate mutating func add(_ identity: EntryIdentity) {
    count += 1
    if samples.count < 3 { samples.append(identity.id) }
  }
}

extension Comparison.Fates {
  public var areAlike: Bool { first == second }
  fileprivate var text: String { "\(first.text) \(second.text)" }
}
