import Files
import Glibc
import Mail
import Synchronization

/// Follows a queue: says what came, what was taken in, how far it is and what left, reading only what is new.
///
/// inotify tells which numbers changed; what became of them is then looked up on disk, so a coalesced or late event does no harm. A full pass over the
/// names finds what lost events hid. Used from one actor only.
public final class QueueWatcher {
  /// As last read; read again when the queue directory has been replaced.
  public internal(set) var layout: QueueLayout
  /// nil while the queue is away.
  var queue: OpenQueue?
  var events = QueueEvents()
  var table = EntryTable()
  var buffer = ReadBuffer()
  /// Gathered since the last report that was handed out; a poll that throws loses nothing.
  var report = PollReport()
  var now = Timestamp(nanoseconds: 0)

  /// The next poll must walk the names, because events were lost or none were there before.
  var needsPass = true
  /// The next pass must compare births: a number may have changed hands unseen.
  var mustCompareBirths = true
  /// When each info directory last changed and when it was last listed; nil: list it.
  var stamps: [DirectoryStamp?] = []
  var lastPass = Timestamp(nanoseconds: 0)
  /// Found by a pass and not read yet.
  var backlog: [UInt64] = []
  var backlogWasLarge = false
  /// Young messages that the last pass found: the event of their arrival, still to be taken, is no second arrival.
  var justFound: Set<UInt64> = []
  /// Damage already told.
  var told: Set<UInt64> = []
  private var toldNote: String?

  /// More events than this are left for the next poll, so that a flood of them does not hold the caller.
  private static let mostEvents = 65_536

  /// Opens the queue and begins to watch; the first poll reports everything that is there.
  public init(layout: QueueLayout) throws(QueueError) {
    self.layout = layout
    let queue = try OpenQueue(layout)
    self.queue = queue
    events.watch(layout, queue.spread)
  }

  /// Readable when something changed, for a Dispatch read source; nil where inotify is not to be had: then only passes find things.
  /// The same number for the life of the watcher.
  public var eventDescriptor: Int32? { events.number }

  /// Takes in what changed since the last poll.
  ///
  /// - Parameters:
  ///   - now: the time given to observations.
  ///   - fullPass: also walk all names, which finds what events did not tell. The first poll always does, and so does every poll while events are incomplete.
  ///   - most: of the messages that a pass found, read no more than about this many now; `hasMore` says that some are left. Bounds the memory of
  ///     the first poll of a large queue.
  /// - Throws: when the queue as a whole cannot be read; later polls try to open it again, and nothing seen is lost.
  public func poll(at now: Timestamp, fullPass: Bool, atMost most: Int = .max)
    throws(QueueError) -> PollReport
  {
    let start = WallClock.monotonic()
    self.now = now
    let queue = try openQueue()
    if !events.isComplete, events.number != nil {
      // A directory that could not be watched may be there again.
      events.watch(layout, queue.spread)
      needsPass = true
      mustCompareBirths = true
    }
    takeEvents(queue)
    if events.hasOverflowed {
      needsPass = true
      mustCompareBirths = true
      events.forgive()
      report.notes.append(
        "the kernel dropped queue events; a full pass makes up for them, short-lived messages apart"
      )
    }
    if events.note != toldNote {
      toldNote = events.note
      if let note = toldNote { report.notes.append(note) }
    }
    if needsPass || fullPass || !events.isComplete { try pass(queue) }
    readBacklog(queue, atMost: most)
    report.statistics.seconds += Double(WallClock.monotonic() - start) / 1e9
    defer { report = PollReport() }
    return report
  }

  /// Whether qmail-send runs and how full the queue's filesystem is; 1 where that cannot be told (then a poll throws).
  public func health(at now: Timestamp) -> Observation {
    var health = QueueHealth(
      senderIsRunning: QmailSend.isRunning(layout), freeSpace: 1, freeInodes: 1)
    var filesystem = statvfs()
    if statvfs(layout.queue, &filesystem) == 0 {
      if filesystem.f_blocks > 0 {
        health.freeSpace = Double(filesystem.f_bavail) / Double(filesystem.f_blocks)
      }
      if filesystem.f_files > 0 {
        health.freeInodes = Double(filesystem.f_favail) / Double(filesystem.f_files)
      }
    }
    return Observation(time: now, event: .health(health))
  }

  /// The message now known under this number.
  public func identity(of id: UInt64) -> EntryIdentity? {
    table.slot(of: id).map { table.identity($0) }
  }

  /// What is known to stand in the queue. Messages are those known; ``QueueScanner/counts()`` counts files as qmail-qstat does.
  public var counts: QueueCounts {
    QueueCounts(
      messages: table.count, unprocessed: table.count(.unprocessed), local: table.count(.local),
      remote: table.count(.remote), bouncing: table.count(.bouncing),
      doneOnly: table.count(.doneOnly))
  }

  // MARK: The queue directory

  /// The queue, opened again when it has been replaced, or when it is back.
  private func openQueue() throws(QueueError) -> OpenQueue {
    let status: FileStatus
    do { status = try FileStatus.of(layout.queue, following: true) } catch {
      queue = nil
      throw QueueError(error)
    }
    if let queue, queue.status.isSameFile(as: status), !events.hasLostDirectory { return queue }
    queue = nil
    layout = try QueueLayout.read(qmail: layout.qmail)
    let opened = try OpenQueue(layout)
    queue = opened
    events.watch(layout, opened.spread)
    stamps = []
    needsPass = true
    mustCompareBirths = true
    return opened
  }

  // MARK: Events

  private func takeEvents(_ queue: OpenQueue) {
    var order: [UInt64] = []
    var touches: [UInt64: (QueueEvents.Touch, arrivals: Int)] = [:]
    var taken = 0
    while taken < Self.mostEvents {
      let count = events.take { id, touch in
        let (before, arrivals) = touches[id] ?? ([], 0)
        if before.isEmpty { order.append(id) }
        touches[id] = (before.union(touch), arrivals + (touch == .arrived ? 1 : 0))
      }
      if count == 0 { break }
      taken += count
      settle(order, touches, queue)
      order.removeAll(keepingCapacity: true)
      touches.removeAll(keepingCapacity: true)
    }
    if taken >= Self.mostEvents { report.hasMore = true }
    report.statistics.events += taken
    justFound = []
  }

  /// Finds out on disk what became of the numbers that were touched.
  private func settle(
    _ order: [UInt64], _ touches: [UInt64: (QueueEvents.Touch, arrivals: Int)], _ queue: OpenQueue
  ) {
    var new: [UInt64] = []
    for id in order {
      guard let (touch, arrivals) = touches[id] else { continue }
      let hasCome = touch.contains(.arrived) || touch.contains(.restored)
      guard let slot = table.slot(of: id) else {
        if hasCome {
          new.append(id)
          report.statistics.missed += max(arrivals - 1, 0)
        }
        continue
      }
      if touch.contains(.arrived), !isSameArrival(slot, arrivals, queue) {
        // A link in todo under a known number: that number has been given to another message.
        depart(slot)
        new.append(id)
        report.statistics.missed += max(arrivals - 1, 0)
      } else if !settle(slot, touch, queue) {
        new.append(id)
      }
    }
    read(new, queue, isNew: true)
  }

  /// Whether an arrival event tells of the message already known, which a pass found before its event was taken.
  private func isSameArrival(_ slot: Int, _ arrivals: Int, _ queue: OpenQueue) -> Bool {
    let id = table.ids[slot]
    guard arrivals == 1, justFound.contains(id) else { return false }
    guard table.states[slot].contains(.unprocessed) else {
      return queue.status(.info, id)?.birth == table.birth(slot)
    }
    return queue.status(.todo, id).map { $0.birth == table.birth(slot) } ?? true
  }

  /// Settles one known number.
  /// - Returns: false when another message stands there now: the known one has been reported gone, the other is to be read.
  func settle(_ slot: Int, _ touch: QueueEvents.Touch, _ queue: OpenQueue) -> Bool {
    let id = table.ids[slot]
    if table.states[slot].contains(.unprocessed) {
      // Until it is taken in, what happens in info and the channels means nothing (a restarted qmail-send makes them anew).
      guard !touch.isDisjoint(with: [.leftTodo, .leftInfo]) else { return true }
      guard let info = queue.status(.info, id) else {
        if queue.status(.todo, id) == nil { depart(slot) }
        return true
      }
      if queue.status(.todo, id) == nil {
        table.rename(slot, birth: info.birth, infoInode: UInt64(info.st_ino))
        table.set(slot, .unprocessed, to: false)
        observe(.processed(table.identity(slot)))
        progress(slot, queue, bounceTouched: touch.contains(.bounce))
      }
      return true
    }
    if !touch.isDisjoint(with: [.leftInfo, .restored]) {
      guard let info = queue.status(.info, id) else {
        depart(slot)
        return true
      }
      if info.birth != table.birth(slot) {
        depart(slot)
        return false
      }
    }
    if !touch.isDisjoint(with: [.channels, .bounce]) {
      progress(slot, queue, bounceTouched: touch.contains(.bounce))
    }
    return true
  }

  /// Counts what is done and failed of a message that has been taken in, and tells it when there is something to tell.
  func progress(_ slot: Int, _ queue: OpenQueue, bounceTouched: Bool) {
    let id = table.ids[slot]
    let channels = queue.channels(of: id, &buffer)
    let wasBouncing = table.states[slot].contains(.bouncing)
    if bounceTouched || wasBouncing { countFailures(slot, queue) }
    set(.local, slot, channels.local != nil)
    set(.remote, slot, channels.remote != nil)
    set(.doneOnly, slot, channels.isDoneOnly)
    let isBouncing = table.states[slot].contains(.bouncing)
    let done = (local: channels.local?.done ?? 0, remote: channels.remote?.done ?? 0)
    guard done.local + done.remote > 0 || isBouncing || wasBouncing else { return }
    observe(
      .progress(
        Observation.Progress(
          id: id, doneLocal: done.local, doneRemote: done.remote, isBouncing: isBouncing,
          failed: isBouncing ? table.bounce(slot).failures : nil)))
  }

  /// Reads what was added to `bounce/ID` since it was last counted.
  private func countFailures(_ slot: Int, _ queue: OpenQueue) {
    guard case .file(let file) = queue.open(.bounce, table.ids[slot]) else {
      set(.bouncing, slot, false)
      table.setBounce(slot, offset: 0, failures: 0)
      return
    }
    defer { close(file) }
    set(.bouncing, slot, true)
    var status = stat()
    guard fstat(file, &status) == 0 else { return }
    var (offset, failures) = table.bounce(slot)
    if Int(status.st_size) < offset { (offset, failures) = (0, 0) }
    var limit = 64 * 1024
    while offset < Int(status.st_size), limit <= 1 << 20 {
      guard buffer.fill(from: file, limit: limit, offset: Int64(offset)) else { break }
      let (count, consumed) = Mail.BounceFile.failures(buffer.filled.span)
      failures += count
      offset += consumed
      if buffer.count < limit { break }
      if consumed == 0 { limit *= 4 }
    }
    table.setBounce(slot, offset: offset, failures: failures)
  }

  // MARK: Arrivals and departures

  /// Reads messages that are not in the table, on two threads when they are many.
  func read(_ ids: [UInt64], _ queue: OpenQueue, isNew: Bool) {
    let chunk = 32
    if ids.count <= chunk {
      for id in ids where table.slot(of: id) == nil {
        take(queue.entry(id, &buffer, isNew: isNew), id, isNew: isNew)
      }
      return
    }
    let chunks = (ids.count + chunk - 1) / chunk
    let bouncing = (try? queue.numbers(.bounce, 0)).map { Set($0) }
    let readings = Mutex([[EntryReading]](repeating: [], count: chunks))
    // Reading never throws: an error is an outcome.
    try? TwoThreads.run(chunks) { part in
      var buffer = ReadBuffer()
      let some = ids[(part * chunk)..<min((part + 1) * chunk, ids.count)].map {
        queue.entry($0, &buffer, isNew: isNew, bouncing: bouncing)
      }
      readings.withLock { $0[part] = some }
      return true
    }
    var at = 0
    for some in readings.withLock({ $0 }) {
      for reading in some {
        if table.slot(of: ids[at]) == nil { take(reading, ids[at], isNew: isNew) }
        at += 1
      }
    }
  }

  private func take(_ reading: EntryReading, _ id: UInt64, isNew: Bool) {
    report.statistics.opened += 1
    switch reading.outcome {
    case .entry(let entry):
      var state: EntryTable.State = []
      if entry.isUnprocessed { state.insert(.unprocessed) }
      if !entry.local.isEmpty { state.insert(.local) }
      if !entry.remote.isEmpty { state.insert(.remote) }
      if entry.isBouncing { state.insert(.bouncing) }
      if entry.isDoneOnly { state.insert(.doneOnly) }
      table.insert(entry.identity, infoInode: reading.infoInode, state)
      told.remove(id)
      if !isNew, entry.identity.birth > lastPass - .seconds(2) { justFound.insert(id) }
      report.statistics.new += 1
      observe(.arrival(entry))
    case .gone:
      if isNew { report.statistics.missed += 1 }
    case .damaged(_, let why):
      if told.insert(id).inserted { report.damaged.append(PollReport.Damage(id: id, why: why)) }
    }
  }

  func depart(_ slot: Int) {
    observe(.departure(id: table.ids[slot]))
    table.remove(slot)
    report.statistics.gone += 1
  }

  private func observe(_ event: Observation.Event) {
    report.observations.append(Observation(time: now, event: event))
  }

  private func set(_ flag: EntryTable.State, _ slot: Int, _ isOn: Bool) {
    table.set(slot, flag, to: isOn)
  }
}
