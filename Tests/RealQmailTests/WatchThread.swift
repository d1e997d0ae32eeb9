import Files
import Foundation
import Glibc
import Mail
import QmailQueue
import Synchronization

/// A watcher on a thread of its own, woken by its events as the daemon is.
final class WatchThread: Sendable {
  private let kept = Kept<Entry>()
  private let lost = Atomic<Int>(0)
  private let isStopping = Atomic<Bool>(false)
  private let ended = DispatchSemaphore(value: 0)
  private let failure = Kept<String>()

  var arrivals: [Entry] { kept.values }
  /// Messages that came and went unread.
  var missed: Int { lost.load(ordering: .relaxed) }

  /// Returns when it watches.
  init(_ layout: QueueLayout) throws {
    let ready = DispatchSemaphore(value: 0)
    Thread { [self] in
      // Other tests run beside this one, and a daemon that does not get the processor sees nothing.
      setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, -10)
      do {
        let watcher = try QueueWatcher(layout: layout)
        try take(watcher)
        ready.signal()
        while !isStopping.load(ordering: .relaxed) {
          var wanted = pollfd(fd: watcher.eventDescriptor ?? -1, events: Int16(POLLIN), revents: 0)
          _ = poll(&wanted, 1, 20)
          try take(watcher)
        }
        try take(watcher)
      } catch { failure.add("\(error)") }
      ready.signal()
      ended.signal()
    }.start()
    ready.wait()
  }

  private func take(_ watcher: QueueWatcher) throws {
    let report = try watcher.poll(at: WallClock.now(), fullPass: false)
    lost.add(report.statistics.missed, ordering: .relaxed)
    for observation in report.observations {
      if case .arrival(let entry) = observation.event { kept.add(entry) }
    }
  }

  func stop() {
    if isStopping.exchange(true, ordering: .relaxed) { return }
    ended.wait()
  }
}
