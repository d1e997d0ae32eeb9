import CLinux
import Dispatch
import Glibc
import Mail
import Synchronization

/// Stands at `todo` and reads each message the moment its link is made, whatever the rest of the daemon is busy with: most messages of a storm are gone
/// after milliseconds.
///
/// What it has read waits, in order, for the watcher to take it. The kernel's own queue of events is the second buffer: past ``mostWaiting`` nothing more is
/// read before the watcher has come. Without ``start(onArrival:)`` the reading is done when the watcher comes.
final class ArrivalReader: Sendable {
  /// An arrival in todo and what could be read of it; `gone` when that was nothing.
  struct Arrival {
    let id: UInt64
    let reading: EntryReading
    /// The message read for an earlier arrival of this number was met again: that arrival's own had gone unread.
    var isRepeated = false
  }

  /// What tells one message of a number from the next.
  private struct Mark {
    let pid: Int?
    let sender: Address
    let birth: Timestamp
    let isUnprocessed: Bool

    init(_ entry: Entry) {
      pid = entry.queuedBy
      sender = entry.sender
      birth = entry.identity.birth
      isUnprocessed = entry.isUnprocessed
    }

    func isSame(as earlier: Mark) -> Bool {
      // Its birth changes when it is taken in; the clock of the filesystem is too coarse to ask for its birth alone.
      pid == earlier.pid && sender == earlier.sender
        && (birth == earlier.birth || earlier.isUnprocessed && !isUnprocessed)
    }
  }

  private static let mostWaiting = 8192
  /// Names and recipients of what waits, about.
  private static let mostBytes = 8 << 20

  private struct State: ~Copyable {
    // Names that go are of no interest, but between them the kernel does not make one event of two arrivals.
    var events = QueueEvents([.todo: IN_CREATE | IN_MOVED_TO | QueueEvents.gone])
    var queue: OpenQueue?
    /// Events have told of them, and they are not read yet.
    var unread: ArraySlice<UInt64> = []
    var waiting: [Arrival] = []
    /// The last message read under each number, of those that wait and of those that were taken last.
    var marks: [UInt64: Mark] = [:]
    var oldMarks: [UInt64: Mark] = [:]
    var bytes = 0
    /// What ``start(onArrival:)`` was given, until the thread runs.
    var onArrival: (@Sendable () -> Void)?
    var isFull: Bool {
      waiting.count >= ArrivalReader.mostWaiting || bytes >= ArrivalReader.mostBytes
    }

    /// Takes one batch of events, unless some are left, and reads what they tell of, as far as there is room for it.
    /// - Returns: number of events and messages.
    mutating func readBatch() -> Int {
      var count = 0
      if unread.isEmpty {
        var ids: [UInt64] = []
        count = events.take { id, touch in if touch == .arrived { ids.append(id) } }
        unread = ids[...]
      }
      guard let queue else {
        unread = []
        return count
      }
      // No longer than the batch: an envelope of many megabytes is not to stay in memory.
      var buffer = ReadBuffer()
      while bytes < ArrivalReader.mostBytes, let id = unread.popFirst() {
        count += 1
        let reading = queue.entry(id, &buffer, isNew: true)
        var arrival = Arrival(id: id, reading: reading)
        if case .entry(let entry) = reading.outcome {
          let mark = Mark(entry)
          arrival.isRepeated = (marks[id] ?? oldMarks[id]).map { mark.isSame(as: $0) } ?? false
          marks[id] = mark
          bytes += entry.weight
        }
        waiting.append(arrival)
      }
      return count
    }
  }

  private let state = Mutex(State())
  /// Rung when there is room again, and to end the thread.
  private let bell: Int32 = clinux_eventfd()
  private let hasEnded = Atomic<Bool>(false)

  deinit { if bell >= 0 { close(bell) } }

  /// What is known of the watches; a flag that was set stays until ``watch(_:_:)`` or ``forgive()``.
  struct Health {
    var isComplete: Bool
    var note: String?
    var hasOverflowed: Bool
    var hasLostDirectory: Bool
  }

  var health: Health {
    state.withLock { state in
      Health(
        isComplete: state.events.isComplete, note: state.events.note,
        hasOverflowed: state.events.hasOverflowed, hasLostDirectory: state.events.hasLostDirectory)
    }
  }

  func watch(_ layout: QueueLayout, _ queue: OpenQueue) {
    state.withLock { state in
      state.queue = queue
      state.events.watch(layout, queue.spread)
    }
    run()
  }

  /// Arrivals that wait for ``collect(atMost:)``.
  var waitingCount: Int { state.withLock { $0.waiting.count } }

  func forgive() { state.withLock { $0.events.forgive() } }

  /// Everything that has arrived until now, in order; reads what has not been read yet.
  /// - Parameter most: about how many events are taken at most; fewer where they are heavy.
  /// - Returns: also whether that was all.
  func collect(atMost most: Int) -> (arrivals: [Arrival], isAll: Bool) {
    let (arrivals, wasFull, isAll) = state.withLock { state in
      let wasFull = state.isFull
      var isAll = false
      while !isAll, state.waiting.count < most, state.bytes < Self.mostBytes {
        isAll = state.readBatch() == 0
      }
      defer {
        if !state.waiting.isEmpty {
          state.waiting = []
          state.bytes = 0
          (state.marks, state.oldMarks) = ([:], state.marks)
        }
      }
      return (state.waiting, wasFull, isAll)
    }
    if wasFull { ring() }
    return (arrivals, isAll)
  }

  /// Begins to read at once what arrives, on a thread of its own, until ``stop()``.
  /// - Parameter onArrival: called on that thread when something waits where nothing waited.
  func start(onArrival: @escaping @Sendable () -> Void) {
    state.withLock { $0.onArrival = onArrival }
    run()
  }

  /// Starts the thread when it is wanted and there is an inotify instance for it.
  private func run() {
    let ready = state.withLock { state -> (Int32, @Sendable () -> Void)? in
      guard bell >= 0, let number = state.events.number, let onArrival = state.onArrival else {
        return nil
      }
      state.onArrival = nil
      return (number, onArrival)
    }
    guard let (number, onArrival) = ready else { return }
    DispatchQueue(label: "qwarden.arrivals", qos: .userInteractive).async { [self] in
      // Ahead of the rest, where that is allowed: it works for microseconds.
      _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, -4)
      var isFull = false
      while true {
        var waits = [
          pollfd(fd: isFull ? -1 : number, events: Int16(POLLIN), revents: 0),
          pollfd(fd: bell, events: Int16(POLLIN), revents: 0),
        ]
        if poll(&waits, 2, -1) < 0, errno != EINTR { return }
        var count: UInt64 = 0
        if waits[1].revents != 0 { _ = Glibc.read(bell, &count, 8) }
        if hasEnded.load(ordering: .acquiring) { return }
        let isFirst: Bool
        (isFull, isFirst) = state.withLock { state in
          let wasEmpty = state.waiting.isEmpty
          while !state.isFull, state.readBatch() > 0 {}
          return (state.isFull, wasEmpty && !state.waiting.isEmpty)
        }
        if isFirst { onArrival() }
      }
    }
  }

  func stop() {
    hasEnded.store(true, ordering: .releasing)
    ring()
  }

  private func ring() {
    var one: UInt64 = 1
    _ = Glibc.write(bell, &one, 8)
  }
}
