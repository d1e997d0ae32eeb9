import Files
import Glibc
import Ledger
import Mail
import Policy
import QmailQueue
import Response
import Storms
import Systemd

// What people and systemd are told.
extension Watchdog {
  func publish() {
    lastReport = seconds()
    let report = report()
    notifier.keepAlive(status: report.line)
    do {
      if published?.tellsTheSame(as: report) != true
        || !StatusReport.touch(state: configuration.places.state)
      {
        published = nil
        try report.write(state: configuration.places.state)
        published = report
      }
      works(.state)
    } catch {
      fails(.state, "\(error)", at: WallClock.now())
    }
    writeMetrics(report)
  }

  private func writeMetrics(_ report: StatusReport) {
    guard let path = policy.metrics.file, lastReport - lastMetrics >= Metrics.pause else { return }
    lastMetrics = lastReport
    do {
      try Replacement.allow(path)
      try Replacement.write(
        Array(metrics.text(report, flow).utf8), to: path, mode: 0o644, durable: false)
      works(.metrics)
    } catch {
      let isSandbox = error.code == EROFS || error.isPermission
      let hint = "; in the unit's sandbox their directory needs a line ReadWritePaths="
      fails(.metrics, isSandbox ? "\(error)\(hint)" : "\(error)", at: WallClock.now())
    }
  }

  /// Figures that nobody renews would be taken for today's.
  func removeMetrics() {
    guard let path = policy.metrics.file, lastMetrics > 0 else { return }
    lastMetrics = -1e9
    if (try? Replacement.allow(path)) != nil { unlink(path) }
  }

  func report() -> StatusReport {
    let counts = watcher.counts
    var queue = StatusReport.Queue()
    queue.messages = counts.messages
    queue.unprocessed = counts.unprocessed
    queue.local = counts.local
    queue.remote = counts.remote
    queue.bouncing = counts.bouncing
    queue.doneOnly = counts.doneOnly
    queue.senderIsRunning = senderIsRunning
    queue.unread = watcher.unread
    queue.isPartial = watcher.hasListedAll ? nil : true
    let mark = try? ledger.mark()
    if mark == nil || mark != counted || keptFigure.isStale {
      counted = mark
      kept = (try? keptFigure.value { () throws(LedgerError) in try ledger.keptCount() }) ?? kept
      activeBlocks = (try? ledger.standingBlocks().count) ?? activeBlocks
    }
    var report = StatusReport(
      version: configuration.version, pid: getpid(), started: started.seconds,
      written: WallClock.now().seconds, mode: policy.mode.rawValue,
      qmail: configuration.places.qmail, troubles: troubles.report, notes: notes, queue: queue,
      lastLook: look,
      storms: detector.storms.map {
        StatusReport.OpenStorm(
          incident: $0.incident, kind: $0.kind.rawValue, began: $0.began.seconds,
          messages: $0.evidence.messages, reason: $0.reason)
      },
      activeBlocks: activeBlocks, quarantined: kept,
      quarantinePending: progress.waiting)
    report.damagedLedger = damagedLedger
    report.log = log.status(at: WallClock.now())
    return report
  }

  /// - Parameter isLast: none follows soon. Else, of storms that stand still, that they were seen again is written once a minute.
  func remember(_ storms: [Storm], at now: Timestamp, isLast: Bool = false) {
    func byTheMinute(_ storms: [Storm]) -> [Storm] {
      storms.map { storm in
        var storm = storm
        let seen = storm.lastSeen.nanoseconds
        storm.lastSeen = Timestamp(nanoseconds: seen - seen % 60_000_000_000)
        return storm
      }
    }
    guard isLast ? storms != remembered : byTheMinute(storms) != byTheMinute(remembered) else {
      return
    }
    do {
      try ledger.record(storms)
      remembered = storms
    } catch {
      fails(.ledger, "\(error)", at: now)
    }
  }

  /// Adds to the timelines of the storms that go on; one in which nothing changes costs nothing.
  func draw(_ storms: [Storm], at now: Timestamp, isLast: Bool = false) {
    var drawn: [(points: [IncidentPoint], incident: Int, began: Timestamp)] = []
    do {
      for storm in storms {
        // A point of an incident that the ledger did not take would be refused as a defect.
        guard remembered.contains(where: { $0.incident == storm.incident }) else { continue }
        let last = pointed[storm.incident]
        let age = now.seconds(since: storm.began)
        let isDue = last.map { now.seconds(since: $0.time) >= IncidentPoint.step(age: age) * 0.9 }
        guard isLast || isDue ?? true else { continue }
        if isLast { keptOf[storm.incident] = nil }
        let counts = FlowMeter.sample(watcher.counts, flow.totals, at: now)
        let point = IncidentPoint(
          time: now, waiting: counts.waiting, leaving: counts.leaving,
          messages: storm.evidence.messages, failed: storm.evidence.failed,
          delivered: storm.evidence.delivered,
          setAside: try keptOf[storm.incident, default: PacedFigure()].value {
            () throws(LedgerError) in try ledger.keptCount(incident: storm.incident)
          })
        if var last {
          last.time = now
          guard last != point else { continue }
        }
        // A queue at its ordinary length shows what the storm made of it.
        let before =
          try last == nil && ledger.points(incident: storm.incident).isEmpty
          ? flow.samples.filter { (-60...0).contains($0.time.seconds(since: storm.began)) } : []
        let context = before.map {
          IncidentPoint(time: $0.time, waiting: $0.waiting, leaving: $0.leaving)
        }
        drawn.append((context + [point], storm.incident, storm.began))
      }
      try ledger.record(drawn)
      for line in drawn { pointed[line.incident] = line.points.last }
    } catch {
      fails(.ledger, "\(error)", at: now)
    }
    if isLast {
      for storm in storms {
        pointed[storm.incident] = nil
        keptOf[storm.incident] = nil
      }
    }
  }

  func tell(_ event: Event) { for sink in sinks { sink.take(event) } }

  func tell(_ outcomes: [Outcome], at now: Timestamp) {
    var failures: [String: Int] = [:]
    for outcome in outcomes {
      metrics.count(outcome)
      if case .quarantined(let record) = outcome, let incident = record.incident,
        !told.contains(incident)
      {
        untold[incident, default: 0] += 1
      }
      if case .quarantined(let record) = outcome, record.incident == nil {
        let what =
          record.note == Responder.takenUp
          ? Self.takenUp
          : "\(record.keepsNothing ? "deleted" : "set aside"), as ordered \(record.note ?? "")"
        untoldOrders[what, default: 0] += 1
      }
      if case .failed(let failure) = outcome {
        if let kind = kind(of: failure) {
          fails(kind, failure.description, at: now)
          continue
        }
        failures[failure.action, default: 0] += 1
        if failures[failure.action, default: 0] > Self.mostAlike { continue }
      }
      if let event = Event(outcome, policy: policy, at: now) { tell(event) }
    }
    for (action, count) in failures where count > Self.mostAlike {
      tell(degraded("\(count - Self.mostAlike) more like it: cannot \(action)", at: now))
    }
  }

  func tellOfQuarantine(_ count: Int, of incident: Int, at now: Timestamp) {
    told.insert(incident)
    let messages = count == 1 ? "message is" : "\(count) messages are"
    tellOfQuarantine(
      count,
      "incident \(incident): the first \(messages) set aside; 'qwarden release --incident \(incident)' puts them back",
      .notice, [JournalField(.incident, incident)], at: now)
  }

  func tellOfOrder(_ count: Int, _ what: String, at now: Timestamp) {
    let messages = count == 1 ? "message is" : "messages are"
    tellOfQuarantine(
      count, "\(count) \(messages) \(what)", what == Self.takenUp ? .alert : .notice, [], at: now)
  }

  private static let takenUp =
    "set aside: \(Responder.takenUp), and not in the ledger, which was lost or is of an older day"

  private func tellOfQuarantine(
    _ count: Int, _ text: String, _ priority: Journal.Priority,
    _ fields: [JournalField], at now: Timestamp
  ) {
    tell(
      Event(
        .quarantined, at: now, priority, text,
        fields + [
          JournalField(.messages, count), JournalField(.action, "quarantine"),
          JournalField(.mode, policy.mode.rawValue),
        ]))
  }

  func note(_ text: String, at now: Timestamp) {
    guard !notes.contains(text) else { return }
    if notes.count >= Self.mostNotes { notes.removeFirst() }
    notes.append(text)
    tell(degraded(text, at: now))
  }

  /// Notes kept for the status, and failures of one kind told one by one.
  private static let mostNotes = 50
  private static let mostAlike = 5

  func tellOfDamage(_ aside: String, at now: Timestamp) {
    let text =
      "the ledger was damaged and is set aside as \(aside); a new one is begun: messages in quarantine are taken up from their directory, "
      + "blocks in badmailfrom are lifted, earlier incidents are forgotten"
    if notes.count < Self.mostNotes { notes.append(text) }
    tell(
      Event(
        .degraded, at: now, .alert, text,
        [JournalField(.path, aside), JournalField(.reason, text)]))
  }

  func degraded(_ text: String, at now: Timestamp) -> Event {
    Event(.degraded, at: now, .warning, text, [JournalField(.reason, text)])
  }

  func seconds() -> Double { Double(WallClock.monotonic()) / 1e9 }
}
