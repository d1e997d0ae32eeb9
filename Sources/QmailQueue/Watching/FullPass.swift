import Files
import Glibc
import Mail
import Synchronization

/// A directory as it was when it was last listed.
struct DirectoryStamp: Sendable {
  var modified: Timestamp
  var listed: Timestamp

  /// Whether the directory cannot have changed since: same mtime, and that mtime was old when it was listed. A change within the grain of the
  /// filesystem's clock (at most two seconds) after the listing would leave the mtime as it was.
  func isCurrent(_ now: Timestamp) -> Bool {
    modified == now && listed.seconds(since: modified) > 2
  }
}

extension QueueWatcher {
  /// What one info directory showed against the table.
  private struct Listing: Sendable {
    var stamp: DirectoryStamp?
    var wasSkipped = false
    var unknown: [UInt64] = []
    /// Known numbers to look at: perhaps another message by now, or taken in meanwhile.
    var doubtful: [UInt64] = []
    /// Known messages with a recipient file written since the last pass (looked for only where events were lost).
    var written: [UInt64] = []
  }

  /// Walks the names of todo and info and makes good what events have not told.
  ///
  /// A number may have changed hands: the directory shows the inode of `info/ID`, which mostly gives that away; where it does not, the events did,
  /// and when events were lost the birth of every known message is looked at. Nothing is taken over before all directories have been listed.
  func pass(_ queue: OpenQueue) throws(QueueError) {
    if !backlog.isEmpty { stamps = [] }
    let split = Int(queue.spread.split)
    if stamps.count != split { stamps = Array(repeating: nil, count: split) }
    for id in told { stamps[Int(id % UInt64(split))] = nil }
    let compareBirths = mustCompareBirths || !events.isComplete
    if compareBirths { stamps = Array(repeating: nil, count: split) }

    // todo before info, so that a message taken in meanwhile is met in info at the latest.
    let todo = try queue.allNumbers(.todo)
    let inTodo = Set(todo)
    let bouncing = Set(try queue.numbers(.bounce, 0))
    let started = WallClock.now()
    let table = self.table
    let stamps = self.stamps
    let lastPass = self.lastPass
    let listings = Mutex([Listing](repeating: Listing(), count: split))
    // A byte a slot: each number belongs to one directory, so no two threads write the same byte.
    nonisolated(unsafe) let seen = UnsafeMutablePointer<Bool>.allocate(capacity: table.count)
    seen.initialize(repeating: false, count: table.count)
    defer { seen.deallocate() }
    try TwoThreads.run(split) { part throws(QueueError) in
      var listing = Listing()
      let directory = try queue.directory(.info, part)
      do throws(FileError) {
        let modified = try directory.status().modified
        if stamps[part]?.isCurrent(modified) == true {
          listing.stamp = stamps[part]
          listing.wasSkipped = true
        } else {
          listing.stamp = DirectoryStamp(modified: modified, listed: WallClock.now())
          try directory.forEachItem { item in
            guard !item.isDirectory, let id = item.name.queueNumber,
              Int(id % UInt64(split)) == part
            else { return }
            guard let slot = table.slot(of: id) else {
              if !inTodo.contains(id) { listing.unknown.append(id) }
              return
            }
            seen[slot] = true
            if table.states[slot].contains(.unprocessed)
              || table.infoInodes[slot] != UInt32(truncatingIfNeeded: item.inode)
            {
              listing.doubtful.append(id)
            } else if compareBirths {
              if queue.status(.info, id)?.birth != table.birth(slot) {
                listing.doubtful.append(id)
              } else if queue.isWritten(id, since: lastPass) {
                listing.written.append(id)
              }
            }
          }
        }
      } catch { throw QueueError(error) }
      listings.withLock { $0[part] = listing }
      return true
    }

    let found = listings.withLock { $0 }
    self.stamps = found.map(\.stamp)
    self.lastPass = started
    needsPass = false
    mustCompareBirths = false
    report.statistics.wasFullPass = true

    var doubtful = found.flatMap(\.doubtful)
    var written = found.flatMap(\.written)
    for slot in 0..<table.count {
      let id = table.ids[slot]
      if table.states[slot].contains(.unprocessed) {
        if !inTodo.contains(id) || compareBirths { doubtful.append(id) }
        continue
      }
      if !seen[slot], !found[Int(id % UInt64(split))].wasSkipped { doubtful.append(id) }
      if table.states[slot].contains(.bouncing) != bouncing.contains(id) { written.append(id) }
    }
    var new = found.flatMap(\.unknown)
    for id in doubtful {
      guard let slot = self.table.slot(of: id) else { continue }
      if !settleDoubt(slot, queue), !inTodo.contains(id) { new.append(id) }
    }
    // Last, as a number whose message has just been found gone may stand in todo for another.
    new += todo.filter { self.table.slot(of: $0) == nil }
    if !told.isEmpty { told.formIntersection(new) }
    for id in written {
      guard let slot = self.table.slot(of: id), !self.table.states[slot].contains(.unprocessed)
      else { continue }
      progress(slot, queue, bounceTouched: true)
    }
    // With some room for what comes next.
    let wanted = self.table.count + new.count
    self.table.reserve(wanted + wanted / 8)
    backlog = new
    backlogWasLarge = new.count > 10_000
  }

  /// Reads messages that a pass has found, in its order.
  func readBacklog(_ queue: OpenQueue, atMost most: Int) {
    guard !backlog.isEmpty else { return }
    if most >= backlog.count {
      let all = backlog
      backlog = []
      read(all, queue, isNew: false)
      // A first pass over a large queue leaves much freed memory behind, which a daemon should give back.
      if backlogWasLarge { FreedMemory.giveBack() }
    } else {
      let some = Array(backlog.suffix(most))
      backlog.removeLast(some.count)
      read(some, queue, isNew: false)
      report.hasMore = true
    }
  }

  private func settleDoubt(_ slot: Int, _ queue: OpenQueue) -> Bool {
    let id = table.ids[slot]
    if table.states[slot].contains(.unprocessed), let todo = queue.status(.todo, id),
      todo.birth != table.birth(slot)
    {
      depart(slot)
      return false
    }
    let isSame = settle(slot, [.leftTodo, .leftInfo], queue)
    // The same message in another info file (a repaired queue): remember the new one.
    if isSame, let slot = table.slot(of: id), !table.states[slot].contains(.unprocessed),
      let info = queue.status(.info, id)
    {
      table.rename(slot, birth: table.birth(slot), infoInode: UInt64(info.st_ino))
    }
    return isSame
  }
}

extension OpenQueue {
  /// Whether a recipient file was written since then, allowing for the grain of the clock.
  fileprivate func isWritten(_ id: UInt64, since then: Timestamp) -> Bool {
    for channel in Channel.allCases {
      if let status = status(channel.file, id), status.birth > then - .seconds(2) { return true }
    }
    return false
  }
}
