import Dispatch
import Files
import Mail
import Synchronization

/// Reads the many messages that a pass over a large queue has found, on threads of its own, while the watcher goes on with those it has been given.
///
/// Young messages come first, the newest before all: a storm in progress is among them. The rest follows in the order of their numbers, which is about
/// that of the disk. At most ``mostWaiting`` wait for the watcher.
final class BacklogReader: Sendable {
  struct Message: Sendable {
    let id: UInt64
    let reading: EntryReading
  }

  private static let mostWaiting = 4096
  /// And of what is read, about so many bytes: a message may have very many recipients.
  private static let mostBytes = 8 << 20
  private static let chunk = 64
  /// Younger than this is what a storm in progress can consist of.
  private static let youth = Duration.seconds(3600)
  /// How long ``take(atMost:)`` waits for slow disks: no longer than a look at the queue may take.
  private static let patience = DispatchTimeInterval.milliseconds(50)

  private struct State {
    var ids: [UInt64]
    var waiting: [Message] = []
    var bytes = 0
    var given = 0
    var hasEnded = false
    var isUnwanted = false
  }

  private let total: Int
  private let state: Mutex<State>
  private let messages = DispatchSemaphore(value: 0)
  private let room = DispatchSemaphore(value: 0)

  /// - Parameter fewest: fewer messages are read faster than sorted.
  init(_ ids: [UInt64], _ queue: OpenQueue, fewest: Int = 10_000) {
    total = ids.count
    state = Mutex(State(ids: ids))
    // A queue of its own gets a thread at once, however busy those of the pool are; it does the work alone where they are all taken.
    DispatchQueue(label: "qwarden.backlog").async { [self] in
      // Handed over rather than shared: of a million numbers there is one copy.
      var ids = state.withLock { state in
        defer { state.ids = [] }
        return state.ids
      }
      if ids.count >= fewest { read(Self.takeYoung(from: &ids, queue), queue) }
      read(ids, queue)
      state.withLock { $0.hasEnded = true }
      messages.signal()
    }
  }

  /// Everything has been taken.
  var isFinished: Bool { state.withLock { $0.hasEnded && $0.waiting.isEmpty } }

  /// Messages not taken yet.
  var rest: Int { state.withLock { total - $0.given } }

  /// The next messages, as soon as there are `most`; fewer at the end, where they are heavy, and where reading is slow.
  func take(atMost most: Int) -> [Message] {
    let end = DispatchTime.now() + Self.patience
    while state.withLock({
      $0.waiting.count < most && $0.bytes < Self.mostBytes && !$0.hasEnded
    }) {
      if messages.wait(timeout: end) == .timedOut { break }
    }
    let taken = state.withLock { state in
      var weight = 0
      let taken = Array(
        state.waiting.prefix(most).prefix { message in
          defer { weight += message.reading.weight }
          return weight < Self.mostBytes
        })
      state.waiting.removeFirst(taken.count)
      state.bytes -= taken.reduce(0) { $0 + $1.reading.weight }
      state.given += taken.count
      return taken
    }
    for _ in 0..<2 { room.signal() }
    return taken
  }

  /// Ends the reading.
  func stop() {
    state.withLock { $0.isUnwanted = true }
    for _ in 0..<2 { room.signal() }
  }

  private func read(_ ids: [UInt64], _ queue: OpenQueue) {
    var names = try? ListedNames(queue)
    try? names?.listLocal(queue)
    let listed = names
    let chunks = (ids.count + Self.chunk - 1) / Self.chunk
    let apart = SharedWork.Apart.keeping(queue.top.number)
    // Reading never throws: an error is an outcome.
    SharedWork.run(chunks, atMost: SharedWork.reads, apart: apart, each: { Reader(queue) }) {
      reader, part in
      let start = part * Self.chunk
      var some: [Message] = []
      var weight = 0
      for id in ids[start..<min(start + Self.chunk, ids.count)] {
        some.append(Message(id: id, reading: reader.read(id, listed)))
        weight += some.last?.reading.weight ?? 0
        if weight > Self.mostBytes / 16 {
          guard hand(some) else { return false }
          some = []
          weight = 0
        }
      }
      return hand(some)
    }
  }

  /// One thread's.
  private struct Reader: ~Copyable {
    private let near: [OpenQueue]
    private var buffer = ReadBuffer(spent: chunk)

    init(_ queue: OpenQueue) {
      // Short names are found sooner; as many directories are kept open as nobody minds.
      let split = Int(queue.spread.split)
      let parts = split > 64 ? [] : (0..<split).compactMap { try? OpenQueue(queue, near: $0) }
      near = parts.count == split ? parts : [queue]
    }

    mutating func read(_ id: UInt64, _ listed: ListedNames?) -> EntryReading {
      near[Int(id % UInt64(near.count))].entry(id, &buffer, listed: listed)
    }
  }

  /// Waits for room.
  /// - Returns: false when nobody wants more.
  private func hand(_ some: [Message]) -> Bool {
    while true {
      let isGiven: Bool? = state.withLock { state in
        if state.isUnwanted { return nil }
        if state.waiting.count >= Self.mostWaiting || state.bytes >= Self.mostBytes { return false }
        state.waiting += some
        state.bytes += some.reduce(0) { $0 + $1.reading.weight }
        return true
      }
      guard let isGiven else { return false }
      if isGiven {
        messages.signal()
        return true
      }
      room.wait()
    }
  }

  /// Puts the numbers in order and takes the young messages out, the newest first.
  private static func takeYoung(from ids: inout [UInt64], _ queue: OpenQueue) -> [UInt64] {
    ids.sort()
    let sorted = ids
    let oldest = WallClock.now() - youth
    let found = Mutex<[EntryIdentity]>([])
    let step = 4096
    SharedWork.run(
      (sorted.count + step - 1) / step, atMost: SharedWork.reads, apart: .keeping(queue.top.number)
    ) { part in
      var young: [EntryIdentity] = []
      for id in sorted[(part * step)..<min((part + 1) * step, sorted.count)] {
        guard let birth = (queue.status(.info, id) ?? queue.status(.todo, id))?.birth else {
          continue
        }
        if birth > oldest { young.append(EntryIdentity(id: id, birth: birth)) }
      }
      found.withLock { $0 += young }
      return true
    }
    let young = found.withLock { $0.sorted(by: >).map(\.id) }
    let isYoung = Set(young)
    ids = sorted.filter { !isYoung.contains($0) }
    return young
  }
}
