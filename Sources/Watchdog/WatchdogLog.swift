import Dispatch
import Files
import Glibc
import Mail
import QmailQueue
import Response
import Storms
import Synchronization
import Systemd

// qmail-send's log, beside the queue.
extension Watchdog {
  /// Reads the log when it changes: a little later, for the queue wakes the reader anyway when it matters, and many lines cost no more than one.
  func awaitLog() {
    logEvents?.cancel()
    logEvents = nil
    // A copy, closed when Dispatch has let go of it, whatever has become of the log by then.
    guard onStop != nil, let descriptor = log.descriptor.map({ fcntl($0, F_DUPFD_CLOEXEC, 3) }),
      descriptor >= 0
    else { return }
    let source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: executor.queue)
    source.setEventHandler(
      handler: onQueue { watchdog in
        watchdog.log.acknowledge()
        watchdog.readLogSoon(.milliseconds(100))
      })
    source.setCancelHandler { @Sendable in close(descriptor) }
    source.activate()
    logEvents = source
  }

  func readLogSoon(_ delay: DispatchTimeInterval) {
    guard !logIsDue, onStop != nil else { return }
    logIsDue = true
    after(delay) { watchdog in
      watchdog.logIsDue = false
      watchdog.queueChanged()
    }
  }

  func readLog(at now: Timestamp) -> [Observation] {
    let report = log.read(at: now)
    for text in report.notes { note(text, at: now) }
    if report.hasMore { readLogSoon(.milliseconds(1)) }
    return report.observations
  }

  /// At the start: what was written while qwarden did not run comes before the first look at the queue.
  func catchUp() -> [StormEvent] {
    guard !hasCaughtUp else { return [] }
    hasCaughtUp = true
    var events: [StormEvent] = []
    while true {
      let now = WallClock.now()
      let report = log.read(at: now)
      for text in report.notes { note(text, at: now) }
      events += take(report.observations)
      // Where it is to end, the next start goes on there.
      guard report.hasMore, !isToEnd.load(ordering: .relaxed) else { return events }
      notifier.keepAlive(
        status: "reading what qmail-send logged meanwhile", isStarting: true)
    }
  }

  func saveLogPosition(at now: Timestamp, isLast: Bool = false) {
    // What could not be noted yet is read again by the next start.
    guard responder.hasHeardAll else { return }
    do { try log.save(at: now, isLast: isLast) } catch { fails(.state, "\(error)", at: now) }
  }
}
