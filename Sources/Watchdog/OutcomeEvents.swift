import Ledger
import Mail
import Policy
import QmailControl
import Response
import Storms
import Systemd

extension Event {
  /// The event that tells of a storm that began or changed; with what helps besides blocking.
  init(_ id: MessageID, of storm: Storm, mode: Policy.Mode, at now: Timestamp) {
    self.init(
      id, at: now, .alert,
      "incident \(storm.incident), \(storm.kind.rawValue): \(storm.reason)",
      Self.fields(of: storm, mode: mode),
      advice: Advice.against(storm).map(\.text))
  }

  /// The event that tells of a storm's end.
  /// - Parameter setAside: its messages in the quarantine.
  init(endOf storm: Storm, setAside: Int, mode: Policy.Mode, at now: Timestamp) {
    let lasted = Duration.seconds(Int(storm.lastSeen.seconds(since: storm.began).rounded(.up)))
    var message =
      "incident \(storm.incident), \(storm.kind.rawValue), is over: \(storm.evidence.messages) messages in \(lasted.text)"
    message +=
      setAside > 0
      ? "; \(setAside) of them are in quarantine, and 'qwarden release --incident \(storm.incident)' puts them back"
      : "; none of them is in quarantine"
    self.init(.stormEnded, at: now, .notice, message, Self.fields(of: storm, mode: mode))
  }

  private static func fields(of storm: Storm, mode: Policy.Mode) -> [JournalField] {
    var fields = [
      JournalField(.incident, storm.incident), JournalField(.kind, storm.kind.rawValue),
      JournalField(.messages, storm.evidence.messages), JournalField(.mode, mode.rawValue),
      JournalField(.action, "alert"), JournalField(.reason, storm.reason),
    ]
    for offender in storm.offenders {
      fields.append(JournalField(.offenderType, offender.type))
      fields.append(JournalField(.offender, offender.value))
    }
    for victim in storm.victims.prefix(20) { fields.append(JournalField(.victim, victim)) }
    for sample in storm.samples { fields.append(JournalField(.id, String(sample))) }
    return fields
  }

  /// The event that tells of what the hands did; nil where a summary tells of it.
  init?(_ outcome: Outcome, policy: Policy, at now: Timestamp) {
    let mode = JournalField(.mode, policy.mode.rawValue)
    switch outcome {
    case .blocked(let block):
      var fields = [
        JournalField(.action, "block"), JournalField(.offender, bytes: block.entry.bytes),
        JournalField(.until, block.expires.iso8601), JournalField(.reason, block.reason), mode,
      ]
      if case .incident(let incident) = block.author {
        fields.append(JournalField(.incident, incident))
      }
      self.init(
        .blockAdded, at: now, .notice,
        "\(block.entry) is in badmailfrom until \(block.expires.iso8601); 'qwarden unblock \(block.entry)' takes it out",
        fields)
    case .unblocked(let block):
      let why = block.removal.map { "\($0.why) (\($0.by))" } ?? "expired"
      self.init(
        .blockRemoved, at: now, .notice, "\(block.entry) is out of badmailfrom: \(why)",
        [JournalField(.offender, bytes: block.entry.bytes), JournalField(.reason, why), mode])
    case .removedByHand(let block):
      self.init(
        .blockRemoved, at: now, .notice,
        "\(block.entry) was taken out of badmailfrom by hand and is left alone for \(policy.blocking.grace.text)",
        [
          JournalField(.offender, bytes: block.entry.bytes),
          JournalField(.reason, "taken out by hand"), mode,
        ])
    case .strayLineRemoved(let line):
      self.init(
        .blockRemoved, at: now, .warning,
        "\(line.sender) was in badmailfrom with qwarden's mark but not in the ledger, and is taken out",
        [
          JournalField(.offender, bytes: line.sender.bytes),
          JournalField(.reason, "not in the ledger"), mode,
        ])
    case .held(let planned, _, let why):
      var fields = [JournalField(.incident, planned.incident), JournalField(.reason, why), mode]
      fields.append(JournalField(.action, planned.action.name))
      switch planned.action {
      case .block(let entry, _):
        fields.append(JournalField(.offender, bytes: entry.bytes))
        self.init(
          .blockHeld, at: now, .warning,
          "incident \(planned.incident): \(entry) is not blocked: \(why)", fields)
      case .quarantine:
        self.init(
          .quarantineHeld, at: now, .warning,
          "incident \(planned.incident): its messages stay in the queue: \(why)", fields,
          advice: [
            "To set them aside all the same: [qwarden quarantine --incident \(planned.incident)]"
          ])
      case .alert: return nil
      }
    case .releaseInDoubt(let record):
      self.init(
        .recovered, at: now, .warning, record.doubt,
        Self.fields(of: record)
          + [JournalField(.messages, 1), JournalField(.reason, record.doubt), mode])
    case .released(let record, let recipients):
      self.init(
        .released, at: now, .info,
        "message \(record.identity.id) went back to \(recipients) recipients",
        Self.fields(of: record) + [JournalField(.messages, 1), mode])
    case .failed(let failure):
      // What keeps from blocking or from setting aside is told as a trouble.
      let isOfQuarantine = ["find", "release"].contains(failure.action)
      var fields = [JournalField(.reason, failure.description), mode]
      if isOfQuarantine { fields.append(JournalField(.action, "quarantine")) }
      if let incident = failure.incident { fields.append(JournalField(.incident, incident)) }
      self.init(
        isOfQuarantine ? .quarantineProblem : .degraded, at: now, .error, failure.description,
        fields)
    // A message that left the queue before the hand fell is no news; what was set aside is told as a sum.
    case .abandoned, .quarantined, .gone, .expired: return nil
    }
  }

  private static func fields(of record: QuarantineRecord) -> [JournalField] {
    var fields = [JournalField(.id, String(record.identity.id))]
    if let incident = record.incident { fields.append(JournalField(.incident, incident)) }
    return fields
  }
}
