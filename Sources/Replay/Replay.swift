import Mail
import Policy
import QmailControl
import Response
import Storms

/// The daemon's detector and planner in virtual time: eats what was observed, and says what would have been told and done under a policy.
///
/// What observe mode alone holds back counts as done for the guards after it, so that its caps and repeats are those that enforce mode would
/// meet. The trace itself does not change: mail that would have been refused or set aside goes on as it was recorded.
public struct Replay: Sendable {
  public private(set) var detector: StormDetector
  private let policy: Policy
  private var context: PlanningContext
  /// Blocks that stand, with their ends; and when those of the last hour were made.
  private var blocks: [Address: Timestamp] = [:]
  private var recentBlocks: [Timestamp] = []
  /// Messages chosen for quarantine that are still in the queue, while a policy asks for their share of it.
  private var chosen: [UInt64: Int] = [:]
  /// Mail in the queue, while a policy protects somebody's.
  private var entries: [UInt64: Entry] = [:]
  private let protectsMail: Bool
  private let countsShare: Bool
  private var told: Set<Held> = []
  private var lastTick = Timestamp(nanoseconds: .min)
  /// Things seen in the queue, one after the other, that are of long before what was seen already.
  private var behind = 0

  private struct Held: Hashable {
    var incident: Int
    var entry: Address
    var by: Guard
  }

  /// As many as the detector remembers messages.
  private static let capacity = 32_768

  public init(policy: Policy, header: TraceReader.Header) {
    self.policy = policy
    detector = StormDetector(settings: policy.detection, localDomains: header.localDomains)
    context = PlanningContext(
      now: Timestamp(nanoseconds: .min),
      control: Self.control(header),
      dialect: policy.blocking.dialect.flatMap { BadmailfromDialect(rawValue: $0) } ?? .stock)
    protectsMail = policy.protect != Policy.Protection()
    countsShare = policy.quarantine.shareOfQueue < 1
  }

  /// The trace goes on with other names of this server.
  public mutating func rename(_ header: TraceReader.Header) {
    detector.localDomains = header.localDomains
    context.control = Self.control(header)
  }

  private static func control(_ header: TraceReader.Header) -> ControlSnapshot {
    let host = Domain(header.host)
    return ControlSnapshot(me: host, locals: header.localDomains.union([host]))
  }

  /// The storms that go on now.
  public var storms: [Storm] { detector.storms }

  /// How somebody or a message stands now, and what would follow.
  public func report(on subject: Subject) -> ExplanationReport {
    ExplanationReport(detector.explanation(of: subject), policy: policy, context: context)
  }

  /// Takes in one observation and says what follows.
  public mutating func observe(_ observation: Observation) -> [ReplayEvent] {
    followClock(observation)
    context.now = max(context.now, observation.time)
    note(observation)
    var found: [ReplayEvent] = []
    for event in detector.observe(observation) { act(on: event, &found) }
    if context.now.seconds(since: lastTick) >= policy.polling.storm.inSeconds
      || lastTick.nanoseconds == .min
    {
      lastTick = context.now
      tick(&found)
    }
    return found
  }

  /// A clock that was set back while the trace was recorded would make all that follows old news. A single line out of order, or a log
  /// that comes late, is no such thing.
  private mutating func followClock(_ observation: Observation) {
    if case .log = observation.event { return }
    guard lastTick.nanoseconds != .min, observation.time.seconds(since: context.now) < -60 else {
      behind = 0
      return
    }
    behind += 1
    guard behind >= 10 else { return }
    let shift = Duration.nanoseconds(
      observation.time.nanoseconds - context.now.nanoseconds)
    detector.clockWasSet(by: shift, at: observation.time)
    (context.now, lastTick, behind) = (observation.time, observation.time, 0)
    recentBlocks = recentBlocks.map { $0 + shift }
    blocks = blocks.mapValues { $0 + shift }
  }

  /// What the planner asks about the queue.
  private mutating func note(_ observation: Observation) {
    switch observation.event {
    case .arrival(let entry):
      context.queueMessages += 1
      guard protectsMail else { return }
      if entries.count >= Self.capacity { entries.removeAll() }
      entries[entry.identity.id] = entry
    case .departure(let id):
      context.queueMessages = max(0, context.queueMessages - 1)
      if protectsMail { entries[id] = nil }
      if let incident = chosen.removeValue(forKey: id) {
        context.quarantinedGone[incident, default: 0] += 1
      }
    case .counts(let counts): context.queueMessages = counts.messages
    case .processed, .progress, .health, .log, .takenOut: break
    }
  }

  private mutating func act(on event: StormEvent, _ found: inout [ReplayEvent]) {
    let now = context.now
    var entry: Entry?
    switch event {
    case .began(let storm):
      context.storms[storm.incident] = storm
      found.append(ReplayEvent(time: now, what: .began(storm)))
    case .changed(let storm):
      context.storms[storm.incident] = storm
      found.append(ReplayEvent(time: now, what: .changed(storm)))
    case .ended(let storm): found.append(ReplayEvent(time: now, what: .ended(storm)))
    case .joined(_, let identity):
      entry = entries[identity.id].map { known in
        var known = known
        known.identity = identity
        return known
      }
    }
    for action in ResponsePlanner.plan(event, policy: policy, context: context, entry: entry) {
      take(action, &found)
    }
    if case .ended(let storm) = event {
      context.storms[storm.incident] = nil
      context.quarantined[storm.incident] = nil
      context.quarantinedGone[storm.incident] = nil
    }
  }

  /// Does in memory what the hands would do, and tells it, a held block once.
  private mutating func take(_ action: PlannedAction, _ found: inout [ReplayEvent]) {
    let isDone: Bool
    if case .hold(let by, _) = action.decision {
      isDone = by == .observeMode
    } else {
      isDone = true
    }
    switch action.action {
    case .alert: break
    case .block(let entry, let lasting):
      if isDone {
        blocks[entry] = context.now + lasting
        context.standingBlocks.insert(entry)
        recentBlocks.append(context.now)
        context.blocksThisHour = recentBlocks.count
      } else if case .hold(let by, _) = action.decision {
        if told.count >= 10_000 { told.removeAll() }
        guard told.insert(Held(incident: action.incident, entry: entry, by: by)).inserted else {
          return
        }
      }
    case .quarantine(let identity):
      guard isDone else { break }
      context.quarantined[action.incident, default: 0] += 1
      if countsShare { chosen[identity.id] = action.incident }
    }
    found.append(ReplayEvent(time: context.now, what: .action(action)))
  }

  /// What the daemon does at every look: lets blocks run out, and asks again for those that storms call for.
  private mutating func tick(_ found: inout [ReplayEvent]) {
    let now = context.now
    recentBlocks.removeAll { now.seconds(since: $0) >= 3600 }
    context.blocksThisHour = recentBlocks.count
    for (entry, end) in blocks where end <= now {
      blocks[entry] = nil
      context.standingBlocks.remove(entry)
      context.earlierBlocks[entry, default: 0] += 1
    }
    guard !context.storms.isEmpty else { return }
    for storm in detector.storms {
      context.storms[storm.incident] = storm
      for action in ResponsePlanner.blocks(for: storm, policy: policy, context: context) {
        take(action, &found)
      }
    }
  }
}
