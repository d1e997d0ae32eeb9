/// The kinds of journal entry that qwarden writes, each with a `MESSAGE_ID` that never changes.
///
/// `journalctl MESSAGE_ID=…` finds them, `journalctl -x` explains them from `systemd/qwarden.catalog`. The raw value
/// is the entry's `QWARDEN_EVENT`. The fields named below are those that the catalog's text refers to.
public enum MessageID: String, Sendable, Hashable, CaseIterable {
  /// INCIDENT, KIND, MESSAGES, MODE; OFFENDER_TYPE and OFFENDER where there is one.
  case stormBegan = "storm-began"
  /// Its kind changed, or its scale by an order of magnitude. Fields as `stormBegan`.
  case stormChanged = "storm-changed"
  /// INCIDENT, KIND, MESSAGES.
  case stormEnded = "storm-ended"
  /// A badmailfrom line was written. OFFENDER (the address), UNTIL; INCIDENT where it was made for one.
  case blockAdded = "block-added"
  /// A guard or observe mode kept a block back. INCIDENT, OFFENDER, REASON.
  case blockHeld = "block-held"
  /// A block expired or was lifted. OFFENDER, REASON.
  case blockRemoved = "block-removed"
  /// badmailfrom cannot be written. ACTION, MODE, REASON.
  case blockProblem = "block-problem"
  /// INCIDENT, MESSAGES.
  case quarantined = "quarantined"
  /// A guard or observe mode kept messages where they are. INCIDENT, REASON.
  case quarantineHeld = "quarantine-held"
  /// Something could not be set aside whole, and stays in the queue. ACTION, MODE, REASON.
  case quarantineProblem = "quarantine-problem"
  /// Messages went back through qmail-queue. MESSAGES, INCIDENT when they all belong to one.
  case released = "released"
  /// PATH.
  case policyReloaded = "policy-reloaded"
  /// The old policy stays in force. PATH, REASON (the first error).
  case policyRefused = "policy-refused"
  /// qwarden is blind until `queueReadable`. PATH, REASON.
  case queueUnreadable = "queue-unreadable"
  /// PATH.
  case queueReadable = "queue-readable"
  /// PATH (the queue), MODE.
  case started = "started"
  /// REASON (the signal).
  case stopping = "stopping"
  /// What the last run left half done, and what became of it. MESSAGES, REASON.
  case recovered = "recovered"
  /// A part of the watch fails and the rest goes on (inotify lost events, the log is gone). REASON.
  case degraded = "degraded"
  /// What `degraded`, `blockProblem` or `quarantineProblem` told of is over. REASON.
  case restored = "restored"
  /// An administrator asked for a look (SIGUSR1): how the queue stands and what the look cost.
  case looked = "looked"

  /// The 128-bit ID as 32 lower-case hexadecimal digits, as `MESSAGE_ID` and the catalog want it.
  public var id: String {
    switch self {
    case .stormBegan: "18134ebc73874d719d903aedc4b5776c"
    case .stormChanged: "0b907229ec6840caadb4328b9fe47fdd"
    case .stormEnded: "930697f8f5db452eb4600a8c0d67621e"
    case .blockAdded: "88b8b69e55484499942d0cae08cf2d70"
    case .blockHeld: "58b05a730d1848aa9f14aab4189d8bfc"
    case .blockRemoved: "604a7c12d6f54d84862daee98e895093"
    case .blockProblem: "9ab53f8faf1c4c83b2c16d1eb3e4b406"
    case .quarantined: "cdf2abf7910546d0a520e9cdab1fad3d"
    case .quarantineHeld: "5bebb153588f43d0aa1ddbb5dc218f66"
    case .quarantineProblem: "2752e2db832b4eaa884fe1663ef2aaa9"
    case .released: "8434599a727d4506a891e36c5cd0a88a"
    case .policyReloaded: "fd28b5a1f17248b382a84f7c6217c41f"
    case .policyRefused: "8a39fc4f16e34895b21e4d4dbc9fea9a"
    case .queueUnreadable: "62aa2cf9dad2411b8a69c96684058e60"
    case .queueReadable: "5d091c869231421199fe7387ad7a0644"
    case .started: "9a2922b927c140e0ac5b9d7a66fcb301"
    case .stopping: "ac8720ff52c14e168c06a2b906f0eeb4"
    case .recovered: "391f11b3d2cf4473828304f96c4475a1"
    case .degraded: "cc2283dddd5f4c5ba8bcbb1f39d69c22"
    case .restored: "745a6d6235c54433b4ec58bde47881a2"
    case .looked: "346224911e2a443b8ec66692d402456b"
    }
  }
}
