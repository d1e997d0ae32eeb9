import Mail
import Policy
import QmailControl
import Response
import Storms

/// Plays a trace through detector and planner, with the shipped policy in enforce mode, and says what came of it.
public struct Evaluation: Sendable {
  /// What became of one storm of the truth.
  public struct Finding: Sendable {
    public var storm: Truth.Storm
    /// nil: not found.
    public var incident: Int?
    public var seconds = 0.0
    public var messages = 0
    public var isKindRight = false
    public var isOffenderRight = false
    public var offenders: [String] = []
  }

  public private(set) var name: String
  public private(set) var findings: [Finding] = []
  /// Blocks that are not rightful, and innocent messages that would be set aside.
  public private(set) var wrongBlocks: [String] = []
  public private(set) var wrongQuarantines: [String] = []
  public private(set) var rightQuarantines = 0
  public private(set) var rightBlocks: [String] = []
  /// Storms told of that were none; surges, which blame nobody, stand apart.
  public private(set) var falseStorms: [String] = []
  public private(set) var surges: [String] = []
  /// Alerts of the noisiest incident, begin and end left out.
  public private(set) var mostAlerts = 0
  public private(set) var observations = 0
  public private(set) var seconds = 0.0

  private struct Told {
    var incident: Int
    var at: Timestamp
    var storm: Storm
    var alerts = 0
    var hasEnded = false
  }
  private var told: [Told] = []
  /// What was told and when, a line each.
  public private(set) var events: [String] = []
  private var detector: StormDetector
  private var policy = Policy()
  private var context: PlanningContext
  private var entries: [UInt64: (entry: Entry, storm: Int?)] = [:]
  private var aside: [UInt64: Int] = [:]
  private var first: Timestamp?
  private var lastBlocks = Timestamp(nanoseconds: 0)
  private let isInnocent: @Sendable (Entry, Int?) -> Bool

  /// - Parameter isInnocent: whether this message must not be set aside; the number is the storm that it belongs to, where known.
  public init(
    _ name: String, header: TraceReader.Header,
    isInnocent: @escaping @Sendable (Entry, _ storm: Int?) -> Bool
  ) {
    self.name = name
    self.isInnocent = isInnocent
    policy.mode = .enforce
    detector = StormDetector(settings: policy.detection, localDomains: header.localDomains)
    let me = Domain(header.host)
    context = PlanningContext(
      now: Timestamp(nanoseconds: 0),
      control: ControlSnapshot(me: me, locals: header.localDomains), dialect: .stock)
  }

  /// A made scenario, from its first message to its end.
  public init(_ scenario: Scenario) {
    self.init(scenario.name, header: scenario.header) { $1 == nil }
    let (truth, injected) = scenario.play { take($0, storm: $1) }
    let start = scenario.start.seconds
    close(truth) { place, until in
      (injected[place] ?? []).count { start + $0 <= until }
    }
  }

  /// A recorded trace, and its truth.
  public init(_ name: String, trace: [UInt8], truth: Truth) throws(TraceReader.Failure) {
    var reader = try TraceReader(trace)
    let innocents = truth.innocents
    let earliest = truth.storms.map(\.begins).min() ?? .infinity
    self.init(name, header: reader.header) { entry, _ in
      let names =
        switch entry.source {
        case .network(let client, _, _): [Text.decode(entry.sender.bytes), client]
        case .bounce(let original?): [Text.decode(original.sender.bytes)]
        default: [Text.decode(entry.sender.bytes)]
        }
      // An account's own mail before it was stolen is innocent too.
      return names.contains { innocents.contains($0) }
        || entry.identity.birth.seconds < earliest - 1
    }
    var births: [Double] = []
    while let observation = try reader.next() {
      if case .log(.info(_, _, let sender, _, _)) = observation.event,
        !innocents.contains(Text.decode(sender.bytes))
      {
        births.append(observation.time.seconds)
      }
      take(observation, storm: nil)
    }
    close(truth) { place, until in
      births.count { $0 >= truth.storms[place].begins && $0 <= until }
    }
  }

  // MARK: Playing

  public mutating func take(_ observation: Observation, storm: Int?) {
    observations += 1
    context.now = observation.time
    first = first ?? observation.time
    seconds = observation.time.seconds(since: first ?? observation.time)
    switch observation.event {
    case .arrival(let entry): entries[entry.identity.id] = (entry, storm)
    case .departure(let id):
      entries[id] = nil
      if let incident = aside.removeValue(forKey: id) {
        context.quarantinedGone[incident, default: 0] += 1
      }
    case .counts(let counts): context.queueMessages = counts.messages
    default: break
    }
    let events = detector.observe(observation)
    for event in events { act(on: event) }
    if !context.storms.isEmpty, observation.time.seconds(since: lastBlocks) >= 1 {
      lastBlocks = observation.time
      for storm in detector.storms {
        context.storms[storm.incident] = storm
        perform(ResponsePlanner.blocks(for: storm, policy: policy, context: context))
      }
    }
  }

  private mutating func act(on event: StormEvent) {
    switch event {
    case .began(let storm):
      note("began", storm)
      context.storms[storm.incident] = storm
      told.append(Told(incident: storm.incident, at: context.now, storm: storm))
    case .changed(let storm):
      note("changed", storm)
      context.storms[storm.incident] = storm
      guard let place = told.lastIndex(where: { $0.incident == storm.incident }) else { break }
      // A surge that turns into a storm begins as one now.
      if told[place].storm.kind == .surge, storm.kind != .surge { told[place].at = context.now }
      told[place].storm = storm
      told[place].alerts += 1
    case .ended(let storm):
      note("ended", storm)
      context.storms[storm.incident] = nil
      if let place = told.lastIndex(where: { $0.incident == storm.incident }) {
        if told[place].hasEnded { told[place].alerts += 1 }
        told[place].hasEnded = true
      }
    case .joined: break
    }
    var entry: Entry?
    if case .joined(_, let identity) = event { entry = entries[identity.id]?.entry }
    perform(ResponsePlanner.plan(event, policy: policy, context: context, entry: entry))
  }

  private mutating func note(_ what: String, _ storm: Storm) {
    events.append(
      "\(context.now.iso8601) \(what) \(storm.incident) \(storm.kind.rawValue): \(storm.reason)")
  }

  private mutating func perform(_ planned: [PlannedAction]) {
    for action in planned where action.decision == .perform {
      switch action.action {
      case .alert: break
      case .block(let address, _):
        context.standingBlocks.insert(address)
        rightBlocks.append(Text.decode(address.bytes))
      case .quarantine(let identity):
        context.quarantined[action.incident, default: 0] += 1
        aside[identity.id] = action.incident
        guard let (entry, storm) = entries[identity.id] else { continue }
        if isInnocent(entry, storm) {
          wrongQuarantines.append(
            "\(Text.decode(entry.sender.bytes)) #\(identity.id), incident \(action.incident)")
        } else {
          rightQuarantines += 1
        }
      }
    }
  }

  // MARK: Judging

  private mutating func close(_ truth: Truth, count: (_ storm: Int, _ until: Double) -> Int) {
    var taken: Set<Int> = []
    for (place, storm) in truth.storms.enumerated() {
      var finding = Finding(storm: storm)
      let candidates = told.filter {
        !taken.contains($0.incident) && $0.storm.kind != .surge
          && $0.at.seconds >= storm.begins - 1 && $0.at.seconds <= storm.ends + 60
      }
      let best =
        candidates.first { Self.names($0.storm).contains { storm.offenders.contains($0) } }
        ?? candidates.first { $0.storm.kind.rawValue == storm.kind }
      if let best {
        taken.insert(best.incident)
        let names = Self.names(best.storm)
        finding.incident = best.incident
        finding.seconds = best.at.seconds - storm.begins
        finding.messages = count(place, best.at.seconds)
        finding.isKindRight = best.storm.kind.rawValue == storm.kind
        finding.isOffenderRight =
          storm.offenders.isEmpty
          ? names.isEmpty : !names.isEmpty && names.allSatisfy { storm.offenders.contains($0) }
        finding.offenders = names.map { "\($0.type) \($0.value)" }
      }
      findings.append(finding)
    }
    let rightful = Set(truth.storms.flatMap(\.blockable))
    wrongBlocks = rightBlocks.filter { !rightful.contains($0) }
    rightBlocks.removeAll { !rightful.contains($0) }
    for item in told {
      mostAlerts = max(mostAlerts, item.alerts)
      if taken.contains(item.incident) { continue }
      if item.storm.kind == .surge {
        surges.append(item.storm.reason)
      } else {
        falseStorms.append("\(item.storm.kind.rawValue): \(item.storm.reason)")
      }
    }
    entries = [:]
  }

  private static func names(_ storm: Storm) -> [Truth.Offender] {
    storm.offenders.map { .init(type: $0.type, value: $0.value) }
  }
}
