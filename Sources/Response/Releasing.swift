import Files
import Ledger
import Mail
import QmailControl
import QmailQueue

/// Giving messages back. The pid of qmail-queue is in the ledger before it gets the last byte of the envelope: a process killed before
/// that has queued nothing, and one killed after it leaves a pid to look for.
extension Responder {
  /// Gives a quarantined message back through qmail-queue, with its own sender and the recipients that were ours to give.
  ///
  /// Allowed while the old entry still departs: its marks are flushed to the disk first. When all recipients are given, the copy is
  /// deleted (once the old entry is gone).
  /// - Parameter inDoubt: also to recipients that a delivery in flight may have reached, and also a message whose earlier release was
  ///   cut off: they may get it twice. Without it such recipients stay in quarantine.
  /// - Parameter others: given it instead of its own recipients, which then get nothing and are owed nothing any more.
  public func release(
    _ record: QuarantineRecord, inDoubt: Bool, to others: [Address] = [], at now: Timestamp
  ) -> [Outcome] {
    var outcomes: [Outcome] = []
    working("release", "\(record.identity.id)", &outcomes) { outcomes throws(Trouble) in
      try withHands { () throws(Trouble) in
        guard let fresh = try attempt({ try ledger.quarantine(number: record.id) }) else {
          throw .other("the ledger does not know it any more")
        }
        try check(fresh, inDoubt: inDoubt)
        try give(fresh, inDoubt: inDoubt || !others.isEmpty, to: others, now, &outcomes)
      }
    }
    return outcomes
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

  private func give(
    _ record: QuarantineRecord, inDoubt: Bool, to others: [Address], _ now: Timestamp,
    _ outcomes: inout [Outcome]
  ) throws(Trouble) {
    let store = try quarantine()
    let message = try attempt { try store.read(record.identity) }
    let ours = message.recipients.filter {
      $0.state == .marked || (inDoubt && $0.state == .inDoubt)
    }
    if ours.isEmpty {
      throw .other(
        "a delivery was under way to each of its recipients when it was set aside, "
          + "so they may have it; release it with --in-doubt to send it again")
    }
    if record.isDeparting { try flushMarks(record.identity.id) }
    let own = ours.map { recipient in
      recipient.channel == .local
        ? control.withoutPrepend(localRecipient: recipient.address) : recipient.address
    }
    let recipients = others.isEmpty ? own : others
    let body: QuarantinedBody
    do throws(QuarantineError) { body = try store.message(record.identity) } catch {
      throw .store(error)
    }
    let injection: Injection
    do throws(InjectionError) {
      injection = try MessageInjector(qmail: places.qmail)
        .start(body.file, at: body.start, from: message.sender, to: recipients)
    } catch { throw .injection(error) }
    let pid = injection.pid
    do throws(Trouble) {
      try step(.releaseStarted)
      try attempt { try ledger.intendRelease(record, pid: pid, inDoubt: inDoubt, at: now) }
    } catch {
      if case .stopped = error { throw error }
      injection.cancel()
      throw error
    }
    try step(.releaseIntended)
    let result = injection.commit()
    try step(.releaseCommitted)

    guard var fresh = try attempt({ try ledger.quarantine(number: record.id) }) else { return }
    switch result {
    case .queued: try finishRelease(&fresh, store, now, &outcomes)
    case .failed:
      try attempt { try ledger.finishRelease(fresh, given: 0, left: ours.count, at: now) }
      throw .injection(.ended(result))
    case .killed, .unknown:
      try resolve(fresh, store, now, &outcomes)
      if try attempt({ try ledger.quarantine(number: record.id) })?.state == .releasing {
        throw .other("\(result); a later look at the queue will tell")
      }
    }
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

  /// qmail-queue has it: note it with the copy, then in the ledger.
  private func finishRelease(
    _ record: inout QuarantineRecord, _ store: QuarantineStore, _ now: Timestamp,
    _ outcomes: inout [Outcome]
  ) throws(Trouble) {
    let withDoubtful = record.release?.includedInDoubt ?? false
    var envelope: QuarantineEnvelope
    do throws(QuarantineError) { envelope = try store.open(record.identity) } catch {
      throw .store(error)
    }
    for index in envelope.message.recipients.indices {
      let state = envelope.message.recipients[index].state
      guard state == .marked || (withDoubtful && state == .inDoubt) else { continue }
      do throws(FileError) { try envelope.set(.released, of: index) } catch { throw .file(error) }
    }
    do throws(FileError) { try envelope.sync() } catch { throw .file(error) }
    try step(.releaseNoted)
    let message = envelope.message
    let given = message.count(.released) - record.released
    let left = message.count(.marked) + message.count(.inDoubt)
    try attempt { try ledger.finishRelease(record, given: given, left: left, at: now) }
    try step(.releaseRecorded)
    record.released += given
    record.facts.inDoubt = left
    record.state = left == 0 ? .released : record.gone == nil ? .marked : .gone
    record.closed = left == 0 ? now : nil
    if left == 0, record.gone != nil { try attempt { try store.delete(record.identity) } }
    outcomes.append(.released(record, recipients: given))
    var history = History(now)
    history.add("release", incident: record.incident, .done)
    try attempt { try ledger.record(history.actions) }
  }

  // MARK: After a kill

  /// A release that was begun and not recorded as ended. Done, when the copy says so or its qmail-queue is found in the queue; else an
  /// administrator must decide, because the message may have come and gone.
  func resolve(
    _ record: QuarantineRecord, _ store: QuarantineStore, _ now: Timestamp,
    _ outcomes: inout [Outcome]
  ) throws(Trouble) {
    guard let release = record.release else { return }
    let message = try attempt { try store.read(record.identity) }
    var record = record
    if message.count(.released) > record.released {
      return try finishRelease(&record, store, now, &outcomes)
    }
    if isAtWork(release.pid) { return }
    let search = ReleasedMessage(pid: release.pid, since: release.started - .seconds(2))
    if try attempt({ try search.isQueued(in: layout) }) {
      return try finishRelease(&record, store, now, &outcomes)
    }
    let note =
      "its release by qmail-queue \(release.pid) at \(release.started.iso8601) was cut off; look for "
      + "'qp \(release.pid)' in qmail-send's log to see whether it was queued"
    try attempt { try ledger.move([record], to: .releaseInDoubt, at: now, note: note) }
    record.state = .releaseInDoubt
    record.note = note
    outcomes.append(.releaseInDoubt(record))
  }

  /// Releases that were cut off while their qmail-queue was still at work.
  func resolveReleases(_ now: Timestamp, _ outcomes: inout [Outcome]) throws(Trouble) {
    let rows = try attempt { try ledger.quarantine([.releasing]) }
    if rows.isEmpty { return }
    let store = try quarantine()
    for record in rows { try resolve(record, store, now, &outcomes) }
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

/// A message that a known qmail-queue has put into the queue, if it is still there.
struct ReleasedMessage {
  let pid: Int32
  let since: Timestamp

  /// Looks through `mess` for its first Received line. Files not younger than the release are not opened.
  func isQueued(in layout: QueueLayout) throws -> Bool {
    for part in 0..<layout.split {
      let folder = try Descriptor.open("\(layout.queue)/mess/\(part)", .directory)
      var ids: [UInt64] = []
      try folder.forEachName { name, _ in
        if let id = name.queueNumber { ids.append(id) }
      }
      for id in ids {
        guard let status = try? folder.status(of: String(id)), status.modified >= since,
          let bytes = try? folder.open(String(id)).read(limit: 512)
        else { continue }
        let head = MessageHead(bytes.span)
        guard case .uid = head.source, head.pid == Int(pid) else { continue }
        // Linked into todo, or taken in: only then does qmail-send know it.
        for kind in [QueueFile.todo, .info]
        where (try? FileStatus.of(layout.path(kind, id))) != nil { return true }
      }
    }
    return false
  }
}
