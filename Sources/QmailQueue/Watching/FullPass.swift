import Files
import Glibc
import Mail

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

/// A pass over all names that is under way.
struct FullPass {
  let begun: Timestamp
  /// Directories that could not be read.
  var failures = 0
  /// What comes next: 0 todo and bounce, then one info directory after the other.
  var step = 0
}

/// A look at the files of every known message, for where no event told: it may be another message, or recipients of it may be done.
struct CheckRound {
  let begun: Timestamp
  /// Whatever was written before this is known.
  let since: Timestamp
  /// Slots still to be looked at, from the last down to the first: the message that moves into a slot that becomes free has been looked at.
  var slots: Int
}

extension QueueWatcher {
  /// Goes on with a pass over the names of todo, bounce and info, and makes good what events have not told; at most about `names` of them at once.
  ///
  /// A number may have changed hands: the directory shows the inode of `info/ID`, which mostly gives that away; where it does not, the events did,
  /// and when events were lost a ``CheckRound`` follows.
  func advancePass(_ queue: OpenQueue, atMost names: Int) throws(QueueError) {
    let split = Int(queue.spread.split)
    if pass == nil {
      pass = FullPass(begun: WallClock.now())
      needsPass = false
      if stamps.count != split { stamps = Array(repeating: nil, count: split) }
      for id in told { stamps[Int(id % UInt64(split))] = nil }
      if !told.isEmpty { todoStamps = [] }
    }
    var listed = 0
    while let step = pass?.step, step <= split, listed < names {
      // todo before info, so that a message taken in meanwhile is met in info at the latest.
      if step == 0 {
        listed += try passTodo(queue)
      } else {
        // One part that cannot be read must not hide the others.
        do throws(QueueError) { listed += try passInfo(step - 1, queue) } catch {
          // Where it is missing this is no queue any more.
          guard error.kind == .unreadable else { throw error }
          pass?.failures += 1
          unlisted = error
          if let failures = pass?.failures, failures >= split {
            pass = nil
            throw error
          }
        }
      }
      pass?.step += 1
    }
    guard let pass, pass.step > split else { return }
    if pass.failures == 0 { unlisted = nil }
    lastPass = pass.begun
    self.pass = nil
    hasListedAll = true
    report.statistics.wasFullPass = true
    if !told.isEmpty { told.formIntersection(backlog) }
    if table.shrink(for: backlog.count) { FreedMemory.giveBack() }
    // With some room for what comes next.
    if !backlog.isEmpty { table.reserve((table.count + backlog.count) / 8 * 9) }
  }

  private func passTodo(_ queue: OpenQueue) throws(QueueError) -> Int {
    let places =
      (0..<queue.spread.directories(.todo)).map { (QueueFile.todo, $0) } + [(QueueFile.bounce, 0)]
    var found: [DirectoryStamp] = []
    for (kind, part) in places {
      do throws(FileError) {
        found.append(
          DirectoryStamp(
            modified: try queue.top.open(
              queue.spread.directory(kind, part), [.directory, .following]
            )
            .status().modified,
            listed: WallClock.now()))
      } catch { throw QueueError(error) }
    }
    if todoStamps.count == found.count,
      zip(todoStamps, found).allSatisfy({ $0.isCurrent($1.modified) })
    {
      return 0
    }
    todoStamps = []
    let todo = try queue.allNumbers(.todo)
    let inTodo = Set(todo)
    let bouncing = try queue.numbers(.bounce, 0)
    let isBouncing = Set(bouncing)
    var doubtful = table.ids(.unprocessed).filter { !inTodo.contains($0) }
    var isNews = !doubtful.isEmpty
    settleDoubts(&doubtful, queue)
    // Last, as a number whose message has just been found gone may stand in todo for another.
    let unknown = todo.filter { table.slot(of: $0) == nil }
    backlog += unknown
    isNews = isNews || !unknown.isEmpty
    for id in bouncing + table.ids(.bouncing) {
      guard let slot = table.slot(of: id), !table.states[slot].contains(.unprocessed),
        table.states[slot].contains(.bouncing) != isBouncing.contains(id)
      else { continue }
      isNews = true
      progress(slot, queue, bounceTouched: true)
    }
    // Listed again until there is nothing new: all that stands there is known then.
    if !isNews { todoStamps = found }
    return todo.count + bouncing.count
  }

  private func passInfo(_ part: Int, _ queue: OpenQueue) throws(QueueError) -> Int {
    let split = queue.spread.split
    let directory = try queue.directory(.info, part)
    // Places in the table of those that are met. They change only when the listing is over.
    var met: [UInt32] = []
    var listed = 0
    // Known numbers to look at: perhaps another message by now, or taken in meanwhile.
    var doubtful: [UInt64] = []
    do throws(FileError) {
      let modified = try directory.status().modified
      if stamps[part]?.isCurrent(modified) == true { return 0 }
      stamps[part] = DirectoryStamp(modified: modified, listed: WallClock.now())
      try directory.forEachItem { item in
        guard !item.isDirectory, let id = item.name.queueNumber, id % split == UInt64(part) else {
          return
        }
        listed += 1
        guard let slot = table.slot(of: id) else {
          backlog.append(id)
          return
        }
        let isUnprocessed = table.states[slot].contains(.unprocessed)
        if !isUnprocessed { met.append(UInt32(slot)) }
        if isUnprocessed
          || table.infoInodes[slot] != UInt32(truncatingIfNeeded: item.inode)
        {
          doubtful.append(id)
        }
      }
    } catch {
      stamps[part] = nil
      throw QueueError(error)
    }
    if met.count != table.taken(in: part) {
      report.statistics.compared += table.count
      var isMet = [Bool](repeating: false, count: table.count)
      for slot in met { isMet[Int(slot)] = true }
      for slot in 0..<table.count
      where !isMet[slot] && table.ids[slot] % split == UInt64(part)
        && !table.states[slot].contains(.unprocessed)
      {
        doubtful.append(table.ids[slot])
      }
    }
    settleDoubts(&doubtful, queue)
    return listed
  }

  /// Goes on with the round over all known messages, at most about `count` of them at once.
  func advanceRound(_ queue: OpenQueue, atMost count: Int) {
    guard var round else { return }
    var new: [UInt64] = []
    for _ in 0..<min(count, round.slots) {
      round.slots = min(round.slots, table.count) - 1
      guard round.slots >= 0 else { break }
      let slot = round.slots
      let id = table.ids[slot]
      let kind = table.states[slot].contains(.unprocessed) ? QueueFile.todo : .info
      let birth = queue.status(kind, id)?.birth
      if birth == nil, !queue.lacks(kind, id) {
        // It cannot be looked at: it has not gone.
      } else if birth != table.birth(slot) {
        if !settleDoubt(slot, queue) { new.append(id) }
      } else if kind == .info, queue.isWritten(id, since: round.since) {
        progress(slot, queue, bounceTouched: true)
      }
    }
    if round.slots <= 0 {
      allKnownAt = round.begun
      self.round = nil
    } else {
      self.round = round
    }
    read(new, queue)
  }

  /// Takes in messages that a pass has found.
  func readBacklog(_ queue: OpenQueue, atMost most: Int) {
    if backlogReader == nil {
      guard !backlog.isEmpty, pass == nil else { return }
      let all = backlog
      backlog = []
      if most == .max {
        read(all, queue)
        return
      }
      if all.count <= Self.few {
        backlog = readHere(all, queue, upTo: Self.mostBytes)
        return
      }
      backlogReader = BacklogReader(all, queue)
    }
    guard let reader = backlogReader else { return }
    for message in reader.take(atMost: most) where table.slot(of: message.id) == nil {
      // What has been touched since it was read is read again.
      let reading =
        touchedMeanwhile.contains(message.id) ? queue.entry(message.id, &buffer) : message.reading
      take(reading, message.id, isNew: false)
    }
    if reader.isFinished {
      backlogReader = nil
      touchedMeanwhile = []
      // A first pass over a large queue leaves much freed memory behind, which a daemon should give back.
      FreedMemory.giveBack()
    }
  }

  private func settleDoubts(_ doubtful: inout [UInt64], _ queue: OpenQueue) {
    for id in doubtful {
      if let slot = table.slot(of: id), !settleDoubt(slot, queue) { backlog.append(id) }
    }
    doubtful = []
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
    // It is gone, and its number may stand in todo for another.
    return isSame && (table.slot(of: id) != nil || queue.status(.todo, id) == nil)
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
