import Mail

/// An episode with a kind, offenders, victims and evidence.
public struct Storm: Sendable, Hashable {
  /// Number of the incident; unique in one ledger or one replay.
  public var incident: Int
  public var kind: StormKind
  /// Birth of the first message that belongs to it.
  public var began: Timestamp
  /// Birth of the last message that belongs to it, or the last sign of it.
  public var lastSeen: Timestamp
  /// nil while it goes on (a pause is not an end).
  public var ended: Timestamp?
  /// Narrowest first: the first is the one that explains the storm.
  public var offenders: [Offender]
  /// The evidence is enough to act on. Until then the storm is told of, and no hand moves.
  public var isCertain = true
  /// Flooded or forged addresses and domains, as text for output.
  public var victims: [String]
  public var evidence: Evidence
  /// Up to three messages of the storm.
  public var samples: [UInt64]
  /// One sentence: what, who, how many, since when, over what threshold, compared with what normal, samples.
  public var reason: String

  public init(
    incident: Int, kind: StormKind, began: Timestamp, lastSeen: Timestamp, ended: Timestamp? = nil,
    offenders: [Offender], victims: [String] = [], evidence: Evidence = Evidence(),
    samples: [UInt64] = [], reason: String = ""
  ) {
    self.incident = incident
    self.kind = kind
    self.began = began
    self.lastSeen = lastSeen
    self.ended = ended
    self.offenders = offenders
    self.victims = victims
    self.evidence = evidence
    self.samples = samples
    self.reason = reason
  }

  /// Nobody and no domain stands out.
  var isOfQueue: Bool { offenders.isEmpty && victims.isEmpty }

  /// Numbers come again within milliseconds.
  mutating func addSample(_ id: UInt64) {
    if samples.count < 3, !samples.contains(id) { samples.append(id) }
  }
}

/// The counts a decision rests on. Messages and recipients are different things and both are counted.
public struct Evidence: Sendable, Hashable {
  public var messages = 0
  public var recipients = 0
  /// Recipients that failed for good, were delivered, or still wait after a first attempt should have ended.
  public var failed = 0
  public var delivered = 0
  public var lingering = 0
  public var recipientDomains = 0
  public var senders = 0
  public var clients = 0
  /// Messages of the storm that bear list or VERP marks.
  public var listMarked = 0
  /// The sequential test on permanent failures has decided for "storm".
  public var failuresProven = false
  /// Messages a minute that the group usually sends, when known.
  public var normalPerMinute: Double?

  public init() {}
}

/// What the detector says.
public enum StormEvent: Sendable, Hashable {
  case began(Storm)
  /// Its kind or offenders changed, its scale by an order of magnitude, or its failures are proven now. A surge with an offender
  /// that turns out to be a flood changes its kind under its number.
  case changed(Storm)
  case ended(Storm)
  /// This message in the queue belongs to the storm.
  case joined(incident: Int, EntryIdentity)
}

extension Evidence {
  /// Whether these figures alone, as a ledger keeps them, are enough to act on.
  func isEnough(for kind: StormKind) -> Bool {
    switch kind {
    case .backscatterIn, .bounceOut, .stall, .surge: true
    case .relaySender, .relaySource, .localScript:
      failuresProven || failed >= 8 && (failed + lingering) * 2 >= recipients
        || lingering >= 20 && (failed + lingering) * 10 >= recipients * 7
    }
  }
}
