import Files
import Glibc
import Mail
import Synchronization

/// Follows a queue: says what came, what was taken in, how far it is and what left, reading only what is new.
///
/// What arrives is read by an ``ArrivalReader`` at once. For all else inotify tells which numbers changed; what became of them is then looked up on
/// disk, so a coalesced or late event does no harm. A full pass over the names finds what lost events hid. Used from one actor only.
public final class QueueWatcher {
  /// As last read; read again when the queue directory has been replaced.
  public internal(set) var layout: QueueLayout
  /// nil while the queue is away.
  var queue: OpenQueue?
  var events = QueueEvents([
    .todo: QueueEvents.gone, .info: QueueEvents.gone | IN_MOVED_TO | IN_CLOSE_WRITE,
    .bounce: QueueEvents.gone | IN_MOVED_TO | IN_MODIFY, .local: IN_MODIFY, .remote: IN_MODIFY,
  ])
  let arrivals = ArrivalReader()
  var table = EntryTable()
  var buffer = ReadBuffer()
  /// Gathered since the last report that was handed out; a poll that throws loses nothing.
  var report = PollReport()
  var now = Timestamp(nanoseconds: 0)

  /// The next poll must walk the names, because events were lost or none were there before.
  var needsPass = true
  /// A round over all known messages must follow: a number may have changed hands unseen.
  var needsRound = true
  /// When each info directory last changed and when it was last listed; nil: list it.
  var stamps: [DirectoryStamp?] = []
  /// Of todo and bounce likewise, once a listing has shown nothing new; else empty.
  var todoStamps: [DirectoryStamp] = []
  var lastPass = Timestamp(nanoseconds: 0)
  var pass: FullPass?
  var round: CheckRound?
  /// What was written to the files of known messages until then has been told.
  var allKnownAt = Timestamp(nanoseconds: 0)
  /// Found by a pass and not read yet.
  var backlog: [UInt64] = []
  var backlogReader: BacklogReader?
  /// Numbers that something happened to while ``backlogReader`` was at work.
  var touchedMeanwhile: Set<UInt64> = []
  /// Young messages found on disk, with the process that queued each (0: unknown): their arrival, still to be
  /// taken, is no second one.
  var justFound: [UInt64: Int] = [:]
  /// Damage already told.
  var told: Set<UInt64> = []
  /// Numbers that something happened to, not settled yet: arrivals of before are still to be taken.
  private var order: [UInt64] = []
  private var touches: [UInt64: QueueEvents.Touch] = [:]
  /// Long recipient files counted less than a second ago, by number.
  var longLists: [UInt64: LongList] = [:]
  /// Events were lost, and the pass and round that make up for them are not over.
  private var isMakingUp = false
  /// A pass over this queue has come to its end.
  public internal(set) var hasListedAll = false
  /// Why some part of `info` could not be listed in the pass before, or in this one.
  var unlisted: QueueError?

  /// More events than this are left for the next poll, so that a flood of them does not hold the caller.
  private static let mostEvents = 65_536
  /// And more bytes of addresses than about this.
  static let mostBytes = 8 << 20
  /// Names walked in one poll for each message that may be read in it: about as dear.
  private static let namesForMessage = 16
  /// Without events: known messages looked at in one poll.
  private static let leisurely = 2000
  /// Opens the queue and begins to watch; the first poll reports everything that is there.
  public init(layout: QueueLayout) throws(QueueError) {
    self.layout = layout
    let queue = try OpenQueue(layout)
    self.queue = queue
    table.split = queue.spread.split
    watch(queue)
  }

  deinit {
    arrivals.stop()
    backlogReader?.stop()
  }

  /// From now on arrivals are read as they come, on a thread of its own, and not only when a poll takes them.
  /// - Parameter onArrival: called on that thread when there is something for a poll to take.
  public func readArrivals(onArrival: @escaping @Sendable () -> Void) {
    arrivals.start(onArrival: onArrival)
  }

  /// Ends what ``readArrivals(onArrival:)`` began.
  public func endReading() { arrivals.stop() }

  private func watch(_ queue: OpenQueue) {
    arrivals.watch(layout, queue)
    events.watch(layout, queue.spread)
  }

  /// Every directory is watched.
  var seesEverything: Bool { events.isComplete && arrivals.health.isComplete }

  /// Readable when something changed, for a Dispatch read source; nil where inotify is not to be had: then only passes find things.
  /// Once there, the same number for the life of the watcher.
  public var eventDescriptor: Int32? { events.number }

  /// Takes in what changed since the last poll.
  ///
  /// - Parameters:
  ///   - now: the time given to observations.
  ///   - fullPass: also walk all names, which finds what events did not tell. The first poll always does, and so does every poll while events are incomplete.
  ///   - most: of the messages that a pass found, take no more than this many now, and bound the walking of names likewise; `hasMore` says that some
  ///     are left. 0 takes events only.
  /// - Throws: when the queue as a whole cannot be read; later polls try to open it again, and nothing seen is lost.
  public func poll(at now: Timestamp, fullPass: Bool, atMost most: Int = .max)
    throws(QueueError) -> PollReport
  {
    let start = WallClock.monotonic()
    self.now = now
    defer { buffer.giveBack() }
    let queue = try openQueue()
    if fullPass, !seesEverything {
      // A directory that could not be watched may be there again, or the limit may be raised.
      watch(queue)
      needsPass = true
      needsRound = true
    }
    let looked = WallClock.now()
    takeEvents(queue)
    recount(queue)
    if events.hasOverflowed || arrivals.health.hasOverflowed {
      needsPass = true
      needsRound = true
      events.forgive()
      arrivals.forgive()
      isMakingUp = true
    }
    if fullPass || !seesEverything { needsPass = true }
    if most > 0 { try lookAtAll(queue, atMost: most) }
    if round == nil, !needsRound, seesEverything { allKnownAt = looked }
    if !needsPass, pass == nil, !needsRound, round == nil { isMakingUp = false }
    report.hasMore =
      report.hasMore || pass != nil || backlogReader != nil || !backlog.isEmpty
      || (round != nil && seesEverything)
    report.statistics.seconds += Double(WallClock.monotonic() - start) / 1e9
    defer { report = PollReport() }
    return report
  }

  /// A bounded piece of what is to be done beside events.
  private func lookAtAll(_ queue: OpenQueue, atMost most: Int) throws(QueueError) {
    let names = most.multipliedReportingOverflow(by: Self.namesForMessage)
    // One thing after the other: what a pass finds is read before the next begins.
    if pass != nil || (needsPass && backlogReader == nil && backlog.isEmpty) {
      try advancePass(queue, atMost: names.overflow ? .max : names.partialValue)
    }
    if pass == nil, round == nil, needsRound || !seesEverything {
      round = CheckRound(begun: WallClock.now(), since: allKnownAt, slots: table.count)
      needsRound = false
    }
    advanceRound(queue, atMost: seesEverything ? most : min(most, Self.leisurely))
    readBacklog(queue, atMost: most)
  }

  /// Why not everything that happens is seen at the moment; nil when all is well.
  public var blindSpot: String? {
    if let note = events.note ?? arrivals.health.note { return note }
    if let unlisted { return "\(unlisted)" }
    return isMakingUp
      ? "the kernel dropped queue events; a full pass makes up for them, short-lived messages apart"
      : nil
  }

  /// Messages that are there and cannot be read, or are not whole.
  public var unreadable: Int { told.count }

  /// The clock was set: what was noted by the old one is looked at anew.
  public func clockWasSet() {
    allKnownAt = Timestamp(nanoseconds: 0)
    lastPass = Timestamp(nanoseconds: 0)
    stamps = []
    todoStamps = []
    needsPass = true
    needsRound = true
  }

  /// Messages found and not read yet: how far the first look at a large queue is.
  public var unread: Int { (backlogReader?.rest ?? 0) + backlog.count }

  /// Whether qmail-send runs and how full the queue's filesystem is; 1 where that cannot be told (then a poll throws).
  public func health(at now: Timestamp) -> Observation {
    let (space, inodes) = (try? Folder.free(layout.queue)) ?? (1, 1)
    return Observation(
      time: now,
      event: .health(
        QueueHealth(
          senderIsRunning: QmailSend.isRunning(layout), freeSpace: space, freeInodes: inodes)))
  }

  /// What is known to stand in the queue. Messages are those known and ``unread``, too few until ``hasListedAll``;
  /// ``QueueScanner/counts()`` counts files as qmail-qstat does.
  public var counts: QueueCounts {
    QueueCounts(
      messages: table.count + unread, unprocessed: table.count(.unprocessed),
      local: table.count(.local),
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
    if let queue, queue.status.isSameFile(as: status), !events.hasLostDirectory,
      !arrivals.health.hasLostDirectory
    {
      return queue
    }
    queue = nil
    layout = try QueueLayout.read(qmail: layout.qmail)
    let opened = try OpenQueue(layout)
    queue = opened
    watch(opened)
    table.split = opened.spread.split
    stamps = []
    todoStamps = []
    pass = nil
    order = []
    touches = [:]
    backlog = []
    backlogReader?.stop()
    backlogReader = nil
    touchedMeanwhile = []
    if !longLists.isEmpty { allKnownAt = Timestamp(nanoseconds: 0) }
    longLists = [:]
    hasListedAll = false
    needsPass = true
    needsRound = true
    return opened
  }

  // MARK: Events

  private func takeEvents(_ queue: OpenQueue) {
    var taken = 0
    while taken < Self.mostEvents, report.weight < Self.mostBytes {
      // In this order: of every number that is touched, the arrival has then been taken.
      let count = events.take { id, touch in
        let before = touches[id] ?? []
        if before.isEmpty { order.append(id) }
        touches[id] = before.union(touch)
      }
      let (arrived, isAll) = arrivals.collect(atMost: Self.mostEvents)
      if count + arrived.count == 0, order.isEmpty { break }
      taken += count + arrived.count
      if backlogReader != nil {
        touchedMeanwhile.formUnion(order)
        for arrival in arrived { touchedMeanwhile.insert(arrival.id) }
      }
      for arrival in arrived { arrive(arrival) }
      if !isAll { continue }
      justFound = [:]
      settle(order, touches, queue)
      order.removeAll(keepingCapacity: true)
      touches.removeAll(keepingCapacity: true)
    }
    if taken >= Self.mostEvents || report.weight >= Self.mostBytes { report.hasMore = true }
    report.statistics.events += taken
  }

  private func arrive(_ arrival: ArrivalReader.Arrival) {
    if arrival.isRepeated {
      report.statistics.missed += 1
      return
    }
    if let slot = table.slot(of: arrival.id) {
      if isKnown(slot, arrival) { return }
      // A link in todo under a known number: that number has been given to another message.
      depart(slot)
    }
    take(arrival.reading, arrival.id, isNew: true)
  }

  /// Whether this is the message already in the table, because a pass found it first.
  private func isKnown(_ slot: Int, _ arrival: ArrivalReader.Arrival) -> Bool {
    guard let known = justFound[arrival.id] else { return false }
    guard case .entry(let entry) = arrival.reading.outcome else { return true }
    if known > 0, let pid = entry.queuedBy { return known == pid }
    return entry.identity.birth <= table.birth(slot)
  }

  /// Finds out on disk what became of the numbers that were touched.
  private func settle(
    _ order: [UInt64], _ touches: [UInt64: QueueEvents.Touch], _ queue: OpenQueue
  ) {
    var new: [UInt64] = []
    for id in order {
      guard let touch = touches[id] else { continue }
      if let slot = table.slot(of: id) {
        if !settle(slot, touch, queue) { new.append(id) }
      } else if touch.contains(.restored) {
        new.append(id)
      }
    }
    read(new, queue)
  }

  /// Settles one known number.
  /// - Returns: false when another message stands there now: the known one has been reported gone, the other is to be read.
  func settle(_ slot: Int, _ touch: QueueEvents.Touch, _ queue: OpenQueue) -> Bool {
    let id = table.ids[slot]
    if table.states[slot].contains(.unprocessed) {
      // Until it is taken in, what happens in info and the channels means nothing (a restarted qmail-send makes them anew).
      guard !touch.isDisjoint(with: [.leftTodo, .leftInfo]) else { return true }
      guard let info = queue.status(.info, id) else {
        if queue.lacks(.info, id), queue.lacks(.todo, id) { depart(slot) }
        return true
      }
      if queue.lacks(.todo, id) {
        table.rename(slot, birth: info.birth, infoInode: UInt64(info.st_ino))
        table.set(slot, .unprocessed, to: false)
        observe(.processed(table.identity(slot)))
        set(.local, slot, true)
        set(.remote, slot, true)
        progress(slot, queue, bounceTouched: touch.contains(.bounce))
      }
      return true
    }
    if !touch.isDisjoint(with: [.leftInfo, .restored]) {
      guard let info = queue.status(.info, id) else {
        // What cannot be looked at has not gone.
        if queue.lacks(.info, id) { depart(slot) }
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

  // MARK: Arrivals and departures

  /// So few messages are read sooner than a thread has begun.
  static let few = 32

  /// Reads messages that are not in the table, one after the other, until the arrivals weigh so much.
  /// - Returns: those that are left.
  func readHere(_ ids: [UInt64], _ queue: OpenQueue, upTo bytes: Int = .max) -> [UInt64] {
    for (place, id) in ids.enumerated() where table.slot(of: id) == nil {
      if report.weight >= bytes { return Array(ids[place...]) }
      take(queue.entry(id, &buffer), id, isNew: false)
    }
    return []
  }

  /// Reads messages that are not in the table, on two threads when they are many.
  func read(_ ids: [UInt64], _ queue: OpenQueue) {
    let chunk = Self.few
    if ids.count <= chunk {
      _ = readHere(ids, queue)
      return
    }
    let chunks = (ids.count + chunk - 1) / chunk
    let listed = try? ListedNames(queue)
    let readings = Mutex([[EntryReading]](repeating: [], count: chunks))
    // Reading never throws: an error is an outcome.
    SharedWork.run(chunks) { part in
      var buffer = ReadBuffer()
      let some = ids[(part * chunk)..<min((part + 1) * chunk, ids.count)].map {
        queue.entry($0, &buffer, listed: listed)
      }
      readings.withLock { $0[part] = some }
      return true
    }
    var at = 0
    for some in readings.withLock({ $0 }) {
      for reading in some {
        if table.slot(of: ids[at]) == nil { take(reading, ids[at], isNew: false) }
        at += 1
      }
    }
  }

  func take(_ reading: EntryReading, _ id: UInt64, isNew: Bool) {
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
      if !isNew, entry.identity.birth > lastPass - .seconds(2) {
        justFound[id] = entry.queuedBy ?? 0
      }
      report.statistics.new += 1
      report.weight += entry.weight
      observe(.arrival(entry))
    case .gone:
      if isNew { report.statistics.missed += 1 }
    case .damaged(_, let why):
      if told.insert(id).inserted { report.damaged.append(PollReport.Damage(id: id, why: why)) }
    }
  }

  func depart(_ slot: Int) {
    let id = table.ids[slot]
    observe(.departure(id: id))
    longLists[id] = nil
    table.remove(slot)
    report.statistics.gone += 1
  }

  func observe(_ event: Observation.Event) {
    report.observations.append(Observation(time: now, event: event))
  }

  func set(_ flag: EntryTable.State, _ slot: Int, _ isOn: Bool) {
    table.set(slot, flag, to: isOn)
  }
}
