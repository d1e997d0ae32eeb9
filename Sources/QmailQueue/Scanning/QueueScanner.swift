import Files
import Glibc
import Mail
import Synchronization

/// One look at a whole queue, on several threads, with memory bounded however large it is (a list of one directory's numbers apart).
///
/// Messages are read in the order of their numbers, which is about that of the inodes; the directory gives names in the order of their hashes.
public struct QueueScanner: Sendable {
  let layout: QueueLayout

  public init(layout: QueueLayout) {
    self.layout = layout
  }

  /// Messages and unprocessed ones, as qmail-qstat counts: regular files under `mess/*` and under `todo`, at any depth.
  public func counts() throws(QueueError) -> QueueCounts {
    let queue = try OpenQueue(layout)
    let split = queue.spread.split
    let messages = Atomic<Int>(0)
    let unprocessed = Atomic<Int>(0)
    // Items: the split directories of mess, whatever else stands beside them, todo.
    try SharedWork.run(Int(split) + 2, atMost: SharedWork.reads) { item throws(QueueError) in
      if item < Int(split) {
        let found = try Self.files(in: queue.directory(.mess, item))
        messages.add(found, ordering: .relaxed)
      } else if item == Int(split) {
        messages.add(try Self.oddFiles(queue), ordering: .relaxed)
      } else {
        unprocessed.add(
          try Self.files(in: Self.open("todo", in: queue.top)), ordering: .relaxed)
      }
      return true
    }
    return QueueCounts(
      messages: messages.load(ordering: .relaxed), unprocessed: unprocessed.load(ordering: .relaxed)
    )
  }

  /// ``counts()`` and local, remote, bouncing and done-only: reads every recipient file.
  ///
  /// - Parameters:
  ///   - damaged: called with each message of which one cannot be read, from any thread; it is left out of these counts.
  public func detailedCounts(
    damaged: @Sendable (DamagedMessage) -> Void = { _ in }
  ) throws(QueueError) -> QueueCounts {
    var counts = try counts()
    let queue = try OpenQueue(layout)
    let inTodo = Set(try queue.allNumbers(.todo))
    let local = Atomic<Int>(0)
    let remote = Atomic<Int>(0)
    let doneOnly = Atomic<Int>(0)
    try SharedWork.run(
      Int(queue.spread.split), atMost: SharedWork.reads, each: { ReadBuffer() }
    ) { buffer, part throws(QueueError) in
      let near = try OpenQueue(queue, near: part)
      for id in try queue.numbers(.info, part).sorted() where !inTodo.contains(id) {
        let state = near.channels(of: id, &buffer)
        if let flaw = state.flaw {
          damaged(DamagedMessage(id: id, why: flaw.why, isForbidden: flaw.isForbidden))
          continue
        }
        // Gone since its name was read.
        if state.local == nil, state.remote == nil, near.lacks(.info, id) { continue }
        if state.local != nil { local.add(1, ordering: .relaxed) }
        if state.remote != nil { remote.add(1, ordering: .relaxed) }
        if state.isDoneOnly { doneOnly.add(1, ordering: .relaxed) }
      }
      return true
    }
    counts.local = local.load(ordering: .relaxed)
    counts.remote = remote.load(ordering: .relaxed)
    counts.bouncing = try queue.numbers(.bounce, 0).count
    counts.doneOnly = doneOnly.load(ordering: .relaxed)
    return counts
  }

  /// Hands every message to `body`, those in todo too; order is that of the disk.
  ///
  /// - Parameters:
  ///   - body: called with some outcomes at a time (never `.gone`), from any thread but never from two at once; false ends the scan.
  public func forEachEntry(_ body: @Sendable ([EntryReader.Outcome]) -> Bool) throws(QueueError) {
    let queue = try OpenQueue(layout)
    // todo before info: a message that is taken in meanwhile is met in one of them, and not in both.
    let names = try ListedNames(queue)
    let turn = Mutex(true)
    try SharedWork.run(
      Int(queue.spread.split) + 1, atMost: SharedWork.reads, each: { ReadBuffer() }
    ) { buffer, part throws(QueueError) in
      let isTodo = part == Int(queue.spread.split)
      let near = isTodo ? queue : try OpenQueue(queue, near: part)
      var batch: [EntryReader.Outcome] = []
      func hand() -> Bool {
        defer { batch.removeAll(keepingCapacity: true) }
        return turn.withLock { wanted in
          if wanted, !batch.isEmpty { wanted = body(batch) }
          return wanted
        }
      }
      for id in isTodo ? Array(names.todo) : try queue.numbers(.info, part).sorted() {
        if !isTodo, names.todo.contains(id) { continue }
        let outcome = near.entry(id, &buffer, listed: names).outcome
        if outcome == .gone { continue }
        batch.append(outcome)
        if batch.count == 256, !hand() { return false }
      }
      return hand()
    }
  }

  /// What qmail-qread prints, order aside, handed to `write` in pieces that each hold whole messages; no message is opened in `mess`.
  ///
  /// - Parameters:
  ///   - write: called from any thread but never from two at once; false ends the scan.
  /// - Returns: whether this user may read all of it; what cannot be read has qmail-qread's line of trouble.
  @discardableResult
  public func qread(_ write: @Sendable ([UInt8]) -> Bool) throws(QueueError) -> Bool {
    let isForbidden = Atomic(false)
    let queue = try OpenQueue(layout)
    let bouncing = Set(try queue.numbers(.bounce, 0))
    let turn = Mutex(true)
    try SharedWork.run(
      Int(queue.spread.split), atMost: SharedWork.reads, apart: .keepingAll,
      each: { ReadBuffer(spent: 64) }
    ) { buffer, part throws(QueueError) in
      var out: [UInt8] = []
      out.reserveCapacity(72 * 1024)
      let near = try OpenQueue(queue, near: part)
      let numbers = try queue.numbers(.info, part).sorted()
      // Most messages have recipients in one channel only: names cost less than openings that fail.
      let local = Set(try queue.numbers(.local, part))
      for id in numbers {
        let code = near.qread(
          id, isLocal: local.contains(id), isBouncing: bouncing.contains(id), &buffer, to: &out)
        if code == EACCES || code == EPERM { isForbidden.store(true, ordering: .relaxed) }
        if out.count >= 64 * 1024 {
          guard
            turn.withLock({ wanted in
              if wanted { wanted = write(out) }
              return wanted
            })
          else { return false }
          out.removeAll(keepingCapacity: true)
        }
      }
      return turn.withLock { wanted in
        if wanted, !out.isEmpty { wanted = write(out) }
        return wanted
      }
    }
    return !isForbidden.load(ordering: .relaxed)
  }

  private static func open(_ name: String, in directory: borrowing Descriptor) throws(QueueError)
    -> Descriptor
  {
    do { return try directory.open(name, [.directory, .following]) } catch {
      throw QueueError(error)
    }
  }

  /// Regular files in a directory and below.
  private static func files(in directory: borrowing Descriptor) throws(QueueError) -> Int {
    var found = 0
    var inner: [String] = []
    var unsure: [String] = []
    do {
      try directory.forEachItem { item in
        if item.isRegular {
          found += 1
        } else if item.isDirectory {
          inner.append(String(decoding: item.name, as: UTF8.self))
        } else if item.isUntyped {
          unsure.append(String(decoding: item.name, as: UTF8.self))
        }
      }
    } catch { throw QueueError(error) }
    for name in unsure {
      guard let status = try? directory.status(of: name) else { continue }
      if status.isRegular { found += 1 } else if status.isDirectory { inner.append(name) }
    }
    for name in inner {
      let below: Descriptor
      do { below = try directory.open(name, .directory) } catch {
        if error.isMissing { continue }
        throw QueueError(error)
      }
      found += try files(in: below)
    }
    return found
  }

  /// What stands in `mess` beside its split directories and does not begin with a dot, as the shell's `mess/*` finds it.
  private static func oddFiles(_ queue: OpenQueue) throws(QueueError) -> Int {
    let mess = try open("mess", in: queue.top)
    var found = 0
    var inner: [String] = []
    let split = queue.spread.split
    do {
      try mess.forEachItem { item in
        if item.name.first == UInt8(ascii: ".") { return }
        if let part = item.name.queueNumber, part < split { return }
        if item.isRegular { found += 1 }
        if item.isDirectory { inner.append(String(decoding: item.name, as: UTF8.self)) }
      }
    } catch { throw QueueError(error) }
    for name in inner { found += try files(in: open(name, in: mess)) }
    return found
  }
}

/// The recipient files of one message, counted.
struct ChannelState {
  /// nil where there is no file.
  var local: (pending: Int, done: Int)?
  var remote: (pending: Int, done: Int)?
  /// Of both files.
  var bytes = 0
  /// A file could not be read: nil above says nothing then.
  var flaw: Flaw?

  var isDoneOnly: Bool { (local?.pending ?? 0) + (remote?.pending ?? 0) == 0 }
}

extension OpenQueue {
  /// - Parameters:
  ///   - local: false where it is known that there is no such file; so `remote`.
  func channels(
    of id: UInt64, _ buffer: inout ReadBuffer, local: Bool = true, remote: Bool = true
  ) -> ChannelState {
    var state = ChannelState()
    func count(_ kind: QueueFile) -> (pending: Int, done: Int)? {
      switch read(kind, id, into: &buffer, limit: Self.longestList) {
      case .read:
        state.bytes += buffer.count
        return RecipientFile.count(buffer.filled.span)
      case .missing: return nil
      case .failed(let code):
        state.flaw = Flaw(kind, code)
        return nil
      }
    }
    if local { state.local = count(.local) }
    if remote { state.remote = count(.remote) }
    return state
  }

  /// Appends what qmail-qread prints for a message; nothing when it has just gone.
  /// - Parameter isLocal: it had a `local` file when the names were listed.
  /// - Returns: `errno` of a file that cannot be read, else 0.
  func qread(
    _ id: UInt64, isLocal: Bool, isBouncing: Bool, _ buffer: inout ReadBuffer, to out: inout [UInt8]
  ) -> Int32 {
    var info = stat()
    switch read(.info, id, into: &buffer, limit: Self.longestList, status: &info) {
    case .read: break
    case .missing: return 0
    case .failed(let code):
      QreadFormat.trouble(id, code, to: &out)
      return code
    }
    guard let mess = status(.mess, id) else {
      let code = errno
      if status(.info, id) != nil { QreadFormat.trouble(id, code, to: &out) }
      return code
    }
    let bytes = buffer.filled.span
    let end = bytes.firstIndex(of: 0, from: 0) ?? bytes.count
    QreadFormat.heading(
      EntryIdentity(id: id, birth: info.birth), size: Int64(mess.st_size),
      sender: bytes.extracting(min(1, end)..<end), isBouncing: isBouncing, to: &out)
    var failure: Int32 = 0
    /// Whether there is such a file.
    func lines(_ channel: Channel) -> Bool {
      switch read(channel.file, id, into: &buffer, limit: Self.longestList) {
      case .missing: return false
      case .read: QreadFormat.lines(buffer.filled.span, channel, to: &out)
      case .failed(let code):
        QreadFormat.trouble(id, code, to: &out)
        failure = code
      }
      return true
    }
    let hasLocal = isLocal && lines(.local)
    if !lines(.remote), !hasLocal {
      // It was being taken in when the names were listed.
      _ = lines(.local)
    }
    return failure
  }
}
