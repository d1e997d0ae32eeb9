import Mail

/// Tells storms from busy days. A pure value: what it knows came in through ``observe(_:)``, time included.
///
/// The same observations come from a live queue, a recorded trace or the simulator, and give the same events. Memory is bounded
/// whatever arrives: see the tables it holds for their capacities.
public struct StormDetector: Sendable {
  public var settings: DetectorSettings
  /// me, locals, rcpthosts and virtualdomains: who is "ours". May be replaced when the control files change.
  public var localDomains: Set<Domain>
  /// Messages injected by these uids are ours (a release from quarantine): no evidence, in no storm.
  public var ownUIDs: Set<UInt32> = []

  /// - Parameters:
  ///   - resuming: storms that were open when qwarden stopped; messages go on joining them.
  ///   - nextIncident: number of the next new storm.
  public init(
    settings: DetectorSettings, localDomains: Set<Domain>, resuming: [Storm] = [],
    nextIncident: Int = 1
  ) {
    self.settings = settings
    self.localDomains = localDomains
    self.storms = resuming
    self.nextIncident = nextIncident
  }

  /// The storms that go on now, oldest first, with their figures as they stand.
  public private(set) var storms: [Storm]
  private var nextIncident: Int

  /// Takes in one observation and says what follows from it: first what began, changed or ended, then who joined.
  public mutating func observe(_ observation: Observation) -> [StormEvent] { [] }

  /// Own action: this entry is being retired, so that its leaving the queue is no evidence of success.
  public mutating func disregard(_ identity: EntryIdentity) {}

  /// The incident of the active storm this entry belongs to, for the first pass after a restart.
  public func incident(for entry: Entry) -> Int? { nil }
}
