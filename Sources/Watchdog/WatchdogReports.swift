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
    try? report.write(state: configuration.places.state)
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
    let kept = try? ledger.quarantineCounts()
    var report = StatusReport(
      version: configuration.version, pid: getpid(), started: started.seconds,
      written: WallClock.now().seconds, mode: policy.mode.rawValue,
      qmail: configuration.places.qmail, trouble: trouble, notes: notes, queue: queue,
      lastLook: look,
      storms: detector.storms.map {
        StatusReport.OpenStorm(
          incident: $0.incident, kind: $0.kind.rawValue, began: $0.began.seconds,
          messages: $0.evidence.messages, reason: $0.reason)
      },
      activeBlocks: (try? ledger.standingBlocks().count) ?? 0,
      quarantined: (kept?[.marked] ?? 0) + (kept?[.gone] ?? 0),
      quarantinePending: progress.waiting)
    report.log = log.status(at: WallClock.now())
    return report
  }

  func remember(_ storms: [Storm], at now: Timestamp) {
    guard storms != remembered else { return }
    do {
      for storm in storms { try ledger.record(storm) }
      remembered = storms
    } catch {
      note("the ledger cannot be written: \(error)", at: now)
    }
  }

  func tell(_ event: Event) { for sink in sinks { sink.take(event) } }

  func tell(_ outcomes: [Outcome], at now: Timestamp) {
    for outcome in outcomes {
      if case .quarantined(let record) = outcome, let incident = record.incident,
        !told.contains(incident)
      {
        untold[incident, default: 0] += 1
      }
      if let event = Event(outcome, policy: policy, at: now) { tell(event) }
    }
  }

  func tellOfQuarantine(_ count: Int, of incident: Int, at now: Timestamp) {
    told.insert(incident)
    tell(
      Event(
        .quarantined, at: now, .notice,
        "incident \(incident): the first \(count) messages are set aside; 'qwarden release --incident \(incident)' puts them back",
        [
          JournalField(.incident, incident), JournalField(.messages, count),
          JournalField(.action, "quarantine"), JournalField(.mode, policy.mode.rawValue),
        ]))
  }

  func note(_ text: String, at now: Timestamp) {
    guard !notes.contains(text) else { return }
    notes.append(text)
    tell(degraded(text, at: now))
  }

  func degraded(_ text: String, at now: Timestamp) -> Event {
    Event(.degraded, at: now, .warning, text, [JournalField(.reason, text)])
  }

  func seconds() -> Double { Double(WallClock.monotonic()) / 1e9 }

  func milliseconds(_ seconds: Double) -> String {
    let tenths = Int((seconds * 10_000).rounded())
    return "\(tenths / 10).\(tenths % 10)"
  }
}
