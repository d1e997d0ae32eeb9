import Glibc
import Mail

/// How far the messages are that have been taken in: recipients done, failures noted.
extension QueueWatcher {
  /// Recipients of this many bytes are counted once a second at most: at each mark, a message with very many would cost their square.
  private static let longList = 64 * 1024

  /// A recipient file that was counted, and when.
  struct LongList {
    let counted: Timestamp
    let done: (local: Int, remote: Int)
    /// Marks have been made since.
    var isOutdated = false

    func isFresh(_ now: Timestamp) -> Bool { (0..<1).contains(now.seconds(since: counted)) }
  }

  /// Counts what is done and failed of a message that has been taken in, and tells it when there is something to tell.
  func progress(_ slot: Int, _ queue: OpenQueue, bounceTouched: Bool) {
    let id = table.ids[slot]
    let state = table.states[slot]
    let wasBouncing = state.contains(.bouncing)
    let done: (local: Int, remote: Int)
    if let list = longLists[id], list.isFresh(now) {
      longLists[id]?.isOutdated = true
      // A failure is told at once: the message may be gone before the next count.
      guard bounceTouched else { return }
      countFailures(slot, queue)
      done = list.done
    } else {
      // A channel file that is not there does not come any more.
      let channels = queue.channels(
        of: id, &buffer, local: state.contains(.local), remote: state.contains(.remote))
      if channels.flaw != nil {
        // Neither gone nor done: looked at again when files can be read.
        needsRound = true
        allKnownAt = Timestamp(nanoseconds: 0)
        return
      }
      if bounceTouched || wasBouncing { countFailures(slot, queue) }
      set(.local, slot, channels.local != nil)
      set(.remote, slot, channels.remote != nil)
      set(.doneOnly, slot, channels.isDoneOnly)
      done = (local: channels.local?.done ?? 0, remote: channels.remote?.done ?? 0)
      longLists[id] =
        channels.bytes > Self.longList ? LongList(counted: now, done: done) : nil
    }
    let isBouncing = table.states[slot].contains(.bouncing)
    guard done.local + done.remote > 0 || isBouncing || wasBouncing else { return }
    observe(
      .progress(
        Observation.Progress(
          id: id, doneLocal: done.local, doneRemote: done.remote, isBouncing: isBouncing,
          failed: isBouncing ? table.bounce(slot).failures : nil)))
  }

  /// Counts the long lists whose second is over, where marks have been made meanwhile.
  func recount(_ queue: OpenQueue) {
    for (id, list) in longLists where !list.isFresh(now) {
      longLists[id] = nil
      guard list.isOutdated, let slot = table.slot(of: id) else { continue }
      progress(slot, queue, bounceTouched: false)
    }
  }

  /// Reads what was added to `bounce/ID` since it was last counted.
  private func countFailures(_ slot: Int, _ queue: OpenQueue) {
    let file: Int32
    switch queue.open(.bounce, table.ids[slot]) {
    case .file(let number): file = number
    case .failed: return
    case .missing:
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
}
