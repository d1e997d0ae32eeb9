import Files
import Ledger
import Mail
import Policy
import QmailControl
import Storms

/// Lines in badmailfrom. The ledger says what the file is to hold; one function makes it so, whether a storm, an administrator, the
/// clock or a crash has made the two differ.
extension Responder {
  private var badmailfrom: Badmailfrom {
    Badmailfrom(control: "\(places.qmail)/control", dialect: dialect)
  }

  /// An active line that is not in the file any more was taken out by somebody; but within this time after it was written it was rather
  /// overwritten by an editor that had read the file before, so it is written again.
  private static let editorsTime = Duration.seconds(600)

  /// Expires due blocks and makes badmailfrom what the ledger says. Cheap when nothing is due and the file is unchanged: call it at
  /// every poll.
  public func tendBlocks(at now: Timestamp) -> [Outcome] {
    var outcomes: [Outcome] = []
    working("write", badmailfrom.path, &outcomes) { outcomes throws(Trouble) in
      try tend(now, &outcomes)
    }
    return outcomes
  }

  /// An administrator's block. The guards that protect from mistakes hold here too and come back as a failure (exit 65); caps,
  /// kinds, evidence and observe mode do not. Ends an earlier unblock's grace. An entry that is blocked already gets the later expiry.
  /// When badmailfrom cannot be written the intent is taken back: a command that failed leaves nothing behind.
  public func block(
    _ entry: Address, lasting: Duration, reason: String, by author: String, at now: Timestamp
  ) -> [Outcome] {
    let entry = entry.lowercased
    var outcomes: [Outcome] = []
    if let why = BlockGuards.mistake(
      in: entry, policy: policy,
      context: PlanningContext(now: now, control: control, dialect: dialect))
    {
      fail("block", "\(entry)", .other(why), &outcomes)
      return outcomes
    }
    working("block", "\(entry)", &outcomes) { outcomes throws(Trouble) in
      try attempt { try ledger.forgetGrace(of: entry) }
      let intended = try attempt {
        try ledger.intendBlock(
          entry, author: .administrator(author), reason: reason, expires: now + lasting, at: now)
      }
      try step(.blockIntended)
      tended = nil
      do throws(Trouble) { try tend(now, &outcomes) } catch {
        if case .stopped = error { throw error }
        if intended.state == .intended { try withdraw(intended, why: error.why, now) }
        throw error
      }
      let isTold = outcomes.contains { outcome in
        if case .blocked(let block) = outcome { block.entry == entry } else { false }
      }
      if !isTold {
        let standing = try attempt { try ledger.standingBlocks() }.first { $0.entry == entry }
        if let standing { outcomes.append(.blocked(standing)) }
      }
    }
    return outcomes
  }

  /// An administrator's unblock: remembered for the policy's grace time. An entry that we do not block gives no outcome.
  public func unblock(_ entry: Address, by author: String, at now: Timestamp) -> [Outcome] {
    var outcomes: [Outcome] = []
    working("unblock", "\(entry)", &outcomes) { outcomes throws(Trouble) in
      // One that is leaving was unblocked before, and its line could not be taken out then.
      let rows = try attempt { try ledger.blocks([.intended, .active, .leaving]) }
        .filter { $0.entry == entry.lowercased }
      if rows.isEmpty { return }
      let standing = rows.filter { $0.state != .leaving }
      if !standing.isEmpty {
        try attempt {
          try ledger.intendRemoval(
            of: standing, why: "unblocked", by: author, at: now,
            graceUntil: now + policy.blocking.grace)
        }
      }
      try step(.removalIntended)
      try tend(now, &outcomes)
    }
    return outcomes
  }

  /// badmailfrom is as the hands left it, there or not.
  var isTended: Bool {
    guard let tended else { return false }
    return tended == (try? FileStatus.of(badmailfrom.path))
  }

  private func tend(_ now: Timestamp, _ outcomes: inout [Outcome]) throws(Trouble) {
    let rows = try attempt { try ledger.blocks([.intended, .active, .leaving]) }
    let isDue = rows.contains { $0.state != .active || $0.expires <= now }
    if !isDue, isTended { return }
    // Until it is written: what failed is tried again at the next poll, also when it has been told and nothing else has changed.
    tended = nil
    try withHands { () throws(Trouble) in try reconcile(now, &outcomes) }
  }

  private func reconcile(_ now: Timestamp, _ outcomes: inout [Outcome]) throws(Trouble) {
    try expire(now)
    try dropUnwanted(now)
    let contents = try attempt { try badmailfrom.contents() }
    let present = Set(contents.ownLines.map(\.sender))
    let byHand = try noticeRemovals(present, now)
    try dropUnlistable(now)

    let standing = try attempt { try ledger.standingBlocks() }
    let leaving = try attempt { try ledger.blocks([.leaving]) }
    let known = Set((standing + leaving).map(\.entry))
    let strays = contents.ownLines.filter { !known.contains($0.sender) }
    // A file that is right already is left alone, also one of a dialect that we do not know.
    if !standing.isEmpty || !contents.ownLines.isEmpty {
      let lines = standing.map { block in
        OwnLine(
          sender: block.entry, until: block.expires, incident: block.incident,
          reason: block.incident == nil ? block.reason : "")
      }
      try attempt { try write(lines) }
    }
    try step(.badmailfromReplaced)
    try attempt { try ledger.settleBlocks(standing: standing, left: leaving) }
    try step(.blocksSettled)
    tended = .some(try? FileStatus.of(badmailfrom.path))

    var history = History(now)
    for var block in standing where block.state == .intended || !present.contains(block.entry) {
      block.state = .active
      outcomes.append(.blocked(block))
      history.add("block", block.entry.bytes, incident: block.incident, .done, why: block.reason)
    }
    for var block in leaving {
      block.state = .removed
      outcomes.append(byHand.contains(block.id) ? .removedByHand(block) : .unblocked(block))
      history.add(
        "unblock", block.entry.bytes, incident: block.incident, .done,
        why: block.removal?.why ?? "")
    }
    outcomes += strays.map { .strayLineRemoved($0) }
    try attempt { try ledger.record(history.actions) }
  }

  /// By ourselves where we may; else by the scribe, where systemd offers one.
  private func write(_ lines: [OwnLine]) throws(BadmailfromError) {
    if !Folder.isWritable("\(places.qmail)/control"),
      let scribe = BadmailfromScribe(at: places.scribe)
    {
      try scribe.replace(ownLines: lines, in: badmailfrom)
    } else {
      try badmailfrom.replace(ownLines: lines)
    }
  }

  private func expire(_ now: Timestamp) throws(Trouble) {
    let due = try attempt { try ledger.standingBlocks() }.filter { $0.expires <= now }
    if due.isEmpty { return }
    try attempt {
      try ledger.intendRemoval(of: due, why: "its time has run out", by: "qwarden", at: now)
    }
    try step(.removalIntended)
  }

  /// - Returns: the blocks whose lines somebody took out.
  private func noticeRemovals(_ present: Set<Address>, _ now: Timestamp) throws(Trouble)
    -> Set<Int64>
  {
    let missing = try attempt { try ledger.standingBlocks() }.filter { block in
      block.state == .active && !present.contains(block.entry)
        && now > block.created + Self.editorsTime
    }
    if missing.isEmpty { return [] }
    return Set(
      try attempt {
        try ledger.intendRemoval(
          of: missing, why: "its line was taken out of badmailfrom", by: "hand", at: now,
          graceUntil: now + policy.blocking.grace)
      }.map(\.id))
  }

  /// A storm's blocks that could not be written yet are not any more where the policy has come to be against them.
  private func dropUnwanted(_ now: Timestamp) throws(Trouble) {
    guard policy.mode == .observe || !policy.blocking.isEnabled else { return }
    for block in try attempt({ try ledger.blocks([.intended]) }) where block.incident != nil {
      try withdraw(block, why: "the policy was changed before it was written", now)
    }
  }

  /// Lines that the dialect, changed since, does not take must not keep the others out.
  private func dropUnlistable(_ now: Timestamp) throws(Trouble) {
    guard let dialect else { return }
    for block in try attempt({ try ledger.standingBlocks() }) {
      do throws(UnblockableSender) { _ = try dialect.entry(for: block.entry) } catch {
        try attempt {
          try ledger.intendRemoval(of: [block], why: "\(error)", by: "qwarden", at: now)
        }
      }
    }
  }

  private func withdraw(_ block: Block, why: String, _ now: Timestamp) throws(Trouble) {
    let left = try attempt {
      try ledger.intendRemoval(of: [block], why: why, by: "failure", at: now)
    }
    try attempt { try ledger.settleBlocks(standing: [], left: left) }
  }
}

extension Block {
  var incident: Int? { if case .incident(let number) = author { number } else { nil } }
}

extension Responder {
  /// What the one who writes badmailfrom for the daemon holds each new line against, whatever the daemon says.
  public static func mistake(
    in entry: Address, policy: Policy, control: ControlSnapshot, dialect: BadmailfromDialect?,
    at now: Timestamp
  ) -> String? {
    BlockGuards.mistake(
      in: entry, policy: policy,
      context: PlanningContext(now: now, control: control, dialect: dialect))
  }
}

extension BlockGuards {
  /// For a block that an administrator asks for: only what would be a mistake whoever asks.
  static func mistake(in entry: Address, policy: Policy, context: PlanningContext) -> String? {
    let question = Question(
      entry: entry,
      storm: Storm(
        incident: 0, kind: .relaySender, began: context.now, lastSeen: context.now, offenders: []),
      policy: policy, context: context)
    let asked: Set<Guard> = [
      .nullSender, .grammar, .localDomain, .roleAddress, .protected, .dialect,
    ]
    for (name, check) in all where asked.contains(name) {
      if let why = check(question) { return why }
    }
    return nil
  }
}
