import Files
import Ledger
import Mail
import QmailControl
import QmailQueue

/// Giving messages back. The pid of qmail-queue is in the ledger before it gets the last byte of the envelope: a process killed before
/// that has queued nothing, and one killed after it leaves a pid to look for.
extension Responder {
  /// Gives a quarantined message back; see ``release(_:inDoubt:to:at:)-([QuarantineRecord],_,_,_)``.
  public func release(
    _ record: QuarantineRecord, inDoubt: Bool, to others: [Address] = [], at now: Timestamp
  ) -> [Outcome] {
    release([record], inDoubt: inDoubt, to: others, at: now)
  }

  /// Gives quarantined messages back through qmail-queue, each with its own sender and the recipients that were ours to give; at most
  /// ``releasedAtOnce`` make a good call: they share the waits for the disk.
  ///
  /// Allowed while the old entry still departs: its marks are flushed to the disk first. When all recipients are given, the copy is
  /// deleted (once the old entry is gone).
  /// - Parameter inDoubt: also to recipients that a delivery in flight may have reached, and also a message whose earlier release was
  ///   cut off: they may get it twice. Without it such recipients stay in quarantine.
  /// - Parameter others: given it instead of its own recipients, which then get nothing and are owed nothing any more.
  public func release(
    _ records: [QuarantineRecord], inDoubt: Bool, to others: [Address] = [], at now: Timestamp
  ) -> [Outcome] {
    var outcomes: [Outcome] = []
    let name = records.count == 1 ? "\(records[0].identity.id)" : "messages"
    working("release", name, &outcomes) { outcomes throws(Trouble) in
      try withHands { () throws(Trouble) in
        let store = try quarantine()
        var gifts: [Gift] = []
        for record in records {
          do throws(Trouble) {
            guard let fresh = try attempt({ try ledger.quarantine(number: record.id) }) else {
              throw .other("the ledger does not know it any more")
            }
            try check(fresh, inDoubt: inDoubt)
            gifts.append(
              try gift(fresh, inDoubt: inDoubt || !others.isEmpty, to: others, store, now))
          } catch {
            fail(
              "release", "\(record.identity.id)", error, incident: record.incident, &outcomes)
          }
        }
        try give(gifts, inDoubt: inDoubt || !others.isEmpty, store, now, &outcomes)
      }
    }
    return outcomes
  }

  /// As many qmail-queues work at the same time.
  public static let releasedAtOnce = 32

  /// A message on its way back.
  private final class Gift {
    let record: QuarantineRecord
    let sender: Address
    let recipients: [Address]
    /// How many of its own recipients it is for.
    let count: Int
    let body: QuarantinedBody
    var injection: Injection?

    init(
      _ record: QuarantineRecord, from sender: Address, to recipients: [Address], count: Int,
      _ body: consuming QuarantinedBody
    ) {
      self.record = record
      self.sender = sender
      self.recipients = recipients
      self.count = count
      self.body = body
    }
  }

  private func check(_ record: QuarantineRecord, inDoubt: Bool) throws(Trouble) {
    switch record.state {
    case .marked, .gone: return
    case .releaseInDoubt:
      if inDoubt { return }
      throw .other(
        "an earlier release was cut off, and it may have been delivered already; "
          + "release it with --in-doubt to send it again")
    case .intended, .copied: throw .other("it is not in quarantine yet; try again in a moment")
    case .releasing: throw .other("a release of it is under way")
    case .released: throw .other("it has been released already")
    case .expiring, .expired: throw .other("its time in quarantine has run out")
    case .abandoned: throw .other("it was left in the queue (\(record.note ?? "not set aside"))")
    }
  }

  private func gift(
    _ record: QuarantineRecord, inDoubt: Bool, to others: [Address], _ store: QuarantineStore,
    _ now: Timestamp
  ) throws(Trouble) -> Gift {
    var message = try attempt { try store.read(record.identity) }
    let isUnsettled = try message.phase == .marked ? hasLostMarks(record) : true
    if isUnsettled {
      // The machine went down before these notes or the marks reached the disk, and the ledger's did.
      let look = try settledLook()
      switch try attempt({ try recover(record.identity, store, look) }) {
      case .abandoned:
        let why = "its marks were lost with the machine: it is in the queue as it was"
        try leave(record, because: why, now)
        throw .other(why)
      case .postponed: throw .other("qmail is trying it at the moment; try again")
      case .finishedByQmail, .quarantined: break
      }
      message = try attempt { try store.read(record.identity) }
    }
    if message.count(.inDoubt) < record.facts.inDoubt {
      // Likewise a doubt that was noted since: whom it was about cannot be known any more.
      message = try attempt {
        var envelope = try store.open(record.identity)
        for (index, recipient) in message.recipients.enumerated() where recipient.state == .marked {
          try envelope.set(.inDoubt, of: index)
        }
        return envelope.message
      }
    }
    let ours = message.recipients.filter {
      $0.state == .marked || (inDoubt && $0.state == .inDoubt)
    }
    if ours.isEmpty {
      throw .other(
        message.count(.inDoubt) == 0
          ? "it has been released already"
          : "a delivery was under way to each of its recipients when it was set aside, "
            + "so they may have it; release it with --in-doubt to send it again")
    }
    let own = ours.map { recipient in
      recipient.channel == .local
        ? control.withoutPrepend(localRecipient: recipient.address) : recipient.address
    }
    return Gift(
      record, from: message.sender, to: others.isEmpty ? own : others, count: ours.count,
      try attempt { try store.message(record.identity) })
  }

  /// The old entry would be delivered beside what is given back.
  private func hasLostMarks(_ record: QuarantineRecord) throws(Trouble) -> Bool {
    guard record.isDeparting else { return false }
    let entry = DepartingEntry(record.identity, sender: record.facts.sender, in: layout)
    if case .marksLost = try attempt({ try entry.state() }) { return true }
    return false
  }

  /// It is in the queue as if nobody had touched it, and stays there.
  func leave(_ record: QuarantineRecord, because why: String, _ now: Timestamp) throws(Trouble) {
    try attempt { try ledger.move([record], to: .intended, at: now) }
    try attempt { try ledger.abandon([record], note: why, at: now) }
  }

  /// All steps, each for all messages before the next.
  private func give(
    _ gifts: [Gift], inDoubt: Bool, _ store: QuarantineStore, _ now: Timestamp,
    _ outcomes: inout [Outcome]
  ) throws(Trouble) {
    let departing = gifts.filter(\.record.isDeparting)
    if departing.count > 8 {
      try attempt { try layout.sync() }
    } else {
      for gift in departing { try flushMarks(gift.record.identity.id) }
    }
    var started: [(gift: Gift, pid: Int32)] = []
    for gift in gifts {
      do throws(InjectionError) {
        let injection = try MessageInjector(qmail: places.qmail)
          .start(
            gift.body.file, at: gift.body.start, from: gift.sender, to: gift.recipients)
        started.append((gift, injection.pid))
        gift.injection = consume injection
      } catch {
        fail(
          "release", "\(gift.record.identity.id)", .injection(error),
          incident: gift.record.incident, &outcomes)
      }
    }
    if started.isEmpty { return }
    do throws(Trouble) {
      try step(.releaseStarted)
      try attempt {
        try ledger.intendRelease(
          started.map { ($0.gift.record, $0.pid) }, inDoubt: inDoubt, at: now)
      }
    } catch {
      if case .stopped = error { throw error }
      for (gift, _) in started {
        if let injection = gift.injection.take() { injection.cancel() }
      }
      throw error
    }
    try step(.releaseIntended)
    for (gift, _) in started { gift.injection?.complete() }
    var results: [(gift: Gift, result: InjectionResult)] = []
    for (gift, _) in started {
      if let injection = gift.injection.take() { results.append((gift, injection.result())) }
    }
    try step(.releaseCommitted)

    var given: [QuarantineRecord] = []
    for (gift, result) in results {
      guard let fresh = try attempt({ try ledger.quarantine(number: gift.record.id) }) else {
        continue
      }
      var why: Trouble?
      switch result {
      case .queued: given.append(fresh)
      case .failed:
        try attempt {
          if gift.record.state == .releaseInDoubt {
            // What came of the earlier one is no more certain for that.
            try ledger.move([fresh], to: .releaseInDoubt, at: now, note: gift.record.note)
          } else {
            try ledger.finishRelease([(fresh, 0, gift.count)], at: now)
          }
        }
        why = .injection(.ended(result))
      case .killed, .unknown:
        try resolve([fresh], store, now, &outcomes)
        if try attempt({ try ledger.quarantine(number: fresh.id) })?.state == .releasing {
          why = .other("\(result); a later look at the queue will tell")
        }
      }
      if let why {
        fail(
          "release", "\(fresh.identity.id)", why, incident: fresh.incident, &outcomes)
      }
    }
    try finishRelease(given, store, now, &outcomes)
  }

  /// The old entry's marks, like qmail's own, may not be on the disk yet. Before the message goes back, they must be: lost marks would
  /// let the old entry deliver too.
  func flushMarks(_ id: UInt64) throws(Trouble) {
    for kind in [QueueFile.local, .remote] {
      do throws(FileError) {
        try Descriptor.open(layout.path(kind, id), .readWrite).sync()
      } catch  where !error.isMissing {
        throw .file(error)
      } catch {}
    }
  }

  /// qmail-queue has them: note it with the copies, then in the ledger.
  private func finishRelease(
    _ records: [QuarantineRecord], _ store: QuarantineStore, _ now: Timestamp,
    _ outcomes: inout [Outcome]
  ) throws(Trouble) {
    if records.isEmpty { return }
    var ends: [Ledger.ReleaseEnd] = []
    let isMany = records.count > 8
    for record in records {
      let withDoubtful = record.release?.includedInDoubt ?? false
      var envelope = try attempt { try store.open(record.identity) }
      do throws(FileError) {
        for (index, recipient) in envelope.message.recipients.enumerated()
        where recipient.state == .marked || (withDoubtful && recipient.state == .inDoubt) {
          try envelope.set(.released, of: index)
        }
        if !isMany { try envelope.sync() }
      } catch { throw .file(error) }
      let message = envelope.message
      ends.append(
        (
          record, message.count(.released) - record.released,
          message.count(.marked) + message.count(.inDoubt)
        ))
    }
    if isMany { try attempt { try store.syncAll() } }
    try step(.releaseNoted)
    try attempt { try ledger.finishRelease(ends, at: now) }
    try step(.releaseRecorded)
    var history = History(now)
    for (record, given, left) in ends {
      var record = record
      record.released += given
      record.facts.inDoubt = left
      record.state = left == 0 ? .released : record.gone == nil ? .marked : .gone
      record.closed = left == 0 ? now : nil
      if left == 0, record.gone != nil { try attempt { try store.delete(record.identity) } }
      outcomes.append(.released(record, recipients: given))
      history.add("release", incident: record.incident, .done)
    }
    try attempt { try ledger.record(history.actions) }
  }

  // MARK: After a kill

  /// Releases that were begun and not recorded as ended. Done, where the copy says so or their qmail-queue is found in the queue; else an
  /// administrator must decide, because the message may have come and gone. The queue is gone through once for all of them.
  func resolve(
    _ records: [QuarantineRecord], _ store: QuarantineStore, _ now: Timestamp,
    _ outcomes: inout [Outcome]
  ) throws(Trouble) {
    var open: [(record: QuarantineRecord, release: QuarantineRecord.Release)] = []
    for record in records {
      guard let release = record.release else { continue }
      try alone("release", record.identity, incident: record.incident, &outcomes) {
        outcomes throws(Trouble) in
        let message = try attempt { try store.read(record.identity) }
        if message.count(.released) > record.released {
          try finishRelease([record], store, now, &outcomes)
        } else if !isAtWork(release.pid) {
          open.append((record, release))
        }
      }
    }
    guard let first = open.map(\.release.started).min() else { return }
    let queued = try attempt {
      try ReleasedMessages.queued(
        by: Set(open.map(\.release.pid)), since: first - .seconds(2), in: layout)
    }
    for (record, release) in open {
      try alone("release", record.identity, incident: record.incident, &outcomes) {
        outcomes throws(Trouble) in
        let isQueued = try attempt {
          let copy = try store.message(record.identity)
          let size = try store.read(record.identity).size
          return try queued[release.pid, default: []].contains { found in
            try found.written >= release.started - .seconds(2) && found.size == size
              && copy.read(limit: found.beginning.count).elementsEqual(found.beginning)
          }
        }
        if isQueued { return try finishRelease([record], store, now, &outcomes) }
        let note =
          "its release by qmail-queue \(release.pid) at \(release.started.iso8601) was cut off; look for "
          + "'qp \(release.pid)' in qmail-send's log to see whether it was queued"
        try attempt { try ledger.move([record], to: .releaseInDoubt, at: now, note: note) }
        var record = record
        record.state = .releaseInDoubt
        record.note = note
        outcomes.append(.releaseInDoubt(record))
      }
    }
  }

  /// Releases that were cut off while their qmail-queue was still at work.
  func resolveReleases(_ now: Timestamp, _ outcomes: inout [Outcome]) throws(Trouble) {
    let rows = try attempt { try ledger.quarantine([.releasing]) }
    if rows.isEmpty { return }
    try resolve(rows, try quarantine(), now, &outcomes)
  }

  /// Still at work: ask again later. A dead one that its parent has not buried yet is not.
  private func isAtWork(_ pid: Int32) -> Bool {
    // "PID (comm) S …": the state stands after the last parenthesis.
    guard let line = try? Descriptor.open("/proc/\(pid)/stat").read(limit: 512),
      let open = line.firstIndex(of: UInt8(ascii: "(")),
      let close = line.lastIndex(of: UInt8(ascii: ")")), open < close, close + 2 < line.count,
      line[(open + 1)..<close].starts(with: "qmail-queue".utf8)
    else { return false }
    return line[close + 2] != UInt8(ascii: "Z") && line[close + 2] != UInt8(ascii: "X")
  }
}

/// Messages that known qmail-queues have put into the queue and that are still there.
enum ReleasedMessages {
  /// One of them, without the Received line that its qmail-queue put before it: a pid may be another program's by now, and so its mail.
  struct Found {
    var written: Timestamp
    var size: Int64
    var beginning: ArraySlice<UInt8>
  }

  /// Looks through `mess` for their first Received lines. Files older than `moment` are not opened.
  static func queued(by pids: Set<Int32>, since moment: Timestamp, in layout: QueueLayout) throws
    -> [Int32: [Found]]
  {
    var found: [Int32: [Found]] = [:]
    for part in 0..<layout.split {
      let folder = try Descriptor.open("\(layout.queue)/mess/\(part)", .directory)
      var ids: [UInt64] = []
      try folder.forEachName { name, _ in
        if let id = name.queueNumber { ids.append(id) }
      }
      for id in ids {
        guard let status = try? folder.status(of: String(id)), status.modified >= moment,
          let bytes = try? folder.open(String(id)).read(limit: 512)
        else { continue }
        let head = MessageHead(bytes.span)
        guard case .uid = head.source, let pid = head.pid.flatMap({ Int32(exactly: $0) }),
          pids.contains(pid), let line = bytes.firstIndex(of: UInt8(ascii: "\n"))
        else { continue }
        // Linked into todo, or taken in: only then does qmail-send know it.
        let isKnown = [QueueFile.todo, .info].contains { kind in
          (try? FileStatus.of(layout.path(kind, id))) != nil
        }
        guard isKnown else { continue }
        found[pid, default: []].append(
          Found(
            written: status.modified, size: status.size - Int64(line + 1),
            beginning: bytes[(line + 1)...]))
      }
    }
    return found
  }
}
