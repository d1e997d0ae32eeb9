import Files
import Glibc
import Mail

/// Follows qmail-send's log in files: a multilog directory, a syslog file, or a file of plain or stamped lines.
///
/// Rotation of every usual kind is followed without loss while the old file can still be found: multilog's renaming, renaming and making anew, copying
/// and truncating. A place in a file is known again by the bytes before it. A half-written line is waited for. Never throws: a log that cannot be
/// read is told in a note, and tried again at every reading. Used from one actor only.
public final class LogFollower {
  /// What is followed.
  public let source: String

  /// Bytes before the place reached that must still stand there.
  static let tailLength = 256
  private static let chunk = 64 * 1024
  /// A splogger piece that may go on is given out after this long.
  private static let patience = Duration.seconds(2)
  /// By then a rotation has made the file anew; some loggers do it with the next line only.
  private static let longestRotation = Duration.seconds(60)

  private var place: LogPlace
  private var text: LogText
  private var events = LogEvents()
  private var file: Descriptor?
  private var inode: UInt64 = 0
  /// Where the next line begins.
  private var offset: Int64 = 0
  /// The bytes before `offset`.
  private var tail: [UInt8] = []
  /// Where the piece begins that `text` holds: the place to resume at while it does.
  private var held: LogPosition.FileMark?
  /// The rest of a line too long is being dropped.
  private var isSkipping = false
  private var heldSince: Timestamp?
  /// Saved by an earlier run and not yet looked for.
  private var saved: LogPosition?
  private var isFirst = true
  /// When the first file was opened: nothing of before is ever wanted.
  private var begun = Timestamp(nanoseconds: 0)
  private var notes: [String] = []
  private var gaps = 0
  private var toldTrouble: String?
  /// Since when there has been no file of the log's name.
  private var missingSince: Timestamp?

  /// Nothing is opened yet; the first ``read(at:atMost:)`` does.
  ///
  /// - Parameters:
  ///   - path: a file, or a directory that multilog writes to.
  ///   - tag: splogger's name in a syslog file that others write to as well.
  ///   - saved: where an earlier run stopped. Without it, or when it is of another log, reading begins at the end: what the past holds is told better by
  ///     the queue itself, whose marks say what became of each message that is still there.
  ///   - oldest: lines stamped earlier are passed over: after a long pause they are history and no news.
  public init(path: String, tag: String, resuming saved: LogPosition?, oldest: Timestamp) {
    source = path
    place = LogPlace(path)
    text = LogText(tag: tag)
    guard let saved, saved.source == path, case .file = saved.mark else { return }
    self.saved = saved
    text.last = saved.last
    if saved.last < oldest { text.oldest = oldest }
  }

  /// Readable when the log changed, for a Dispatch read source; the same number for life. nil where inotify is not to be had.
  public var eventDescriptor: Int32? { events.number }

  /// Takes the events that made ``eventDescriptor`` readable, so that reading may come a little later, for many lines at once.
  public func acknowledge() { events.drain() }

  /// Where to resume after a restart; nil when nothing was opened yet.
  public var position: LogPosition? {
    if let saved { return saved }
    guard file != nil else { return nil }
    let mark = held ?? LogPosition.FileMark(inode: inode, offset: offset, tail: tail)
    return LogPosition(source: source, mark: .file(mark), last: max(text.last, begun))
  }

  /// Bytes written and not read yet.
  public var unread: Int64 {
    guard let chain = try? LogChain.look(place) else { return 0 }
    let later = (chain.after(inode) ?? []).reduce(0) { $0 + $1.size }
    let own = chain.all.first { $0.inode == inode }.map { max(0, $0.size - offset) } ?? 0
    return own + later
  }

  /// Takes in what was written since the last call.
  /// - Parameters:
  ///   - now: the time of lines without a stamp, and of those stamped later.
  ///   - most: stop after about so many bytes; `hasMore` says that some are left.
  public func read(at now: Timestamp, atMost most: Int = 1 << 20) -> LogReport {
    events.drain()
    var budget = most
    do {
      if file == nil { try open(at: now) }
      while file != nil, budget > 0 {
        let taken = try readChunk(at: now)
        budget -= taken
        if taken == 0, try !goOn(at: now) { break }
      }
      toldTrouble = nil
    } catch {
      var error = error
      if error.isPermission { error.remedy = "let qwarden's user read it" }
      if toldTrouble != error.description {
        toldTrouble = error.description
        notes.append("qmail-send's log cannot be read: \(error)")
      }
    }
    if budget > 0 { letGo(at: now) }
    var report = text.collect()
    report.notes = notes
    report.statistics.gaps = gaps
    report.hasMore = budget <= 0
    notes = []
    gaps = 0
    return report
  }

  /// When qmail-send last wrote to the log at `path`; nil when there is no line of its near the end. Follows nothing.
  public static func lastLine(of path: String, tag: String) -> Timestamp? {
    guard let chain = try? LogChain.look(LogPlace(path)) else { return nil }
    // One just begun holds nothing yet.
    for link in chain.all.reversed().prefix(2) {
      guard let file = try? Descriptor.open(link.path, [.read, .following]),
        let status = try? file.status(),
        let bytes = try? file.read(
          limit: chunk, from: max(0, status.size - Int64(chunk)))
      else { continue }
      var text = LogText(tag: tag)
      for line in bytes.split(separator: UInt8(ascii: "\n")) {
        text.take(line, at: status.modified)
      }
      if text.collect().statistics.lines > 0 { return text.last }
    }
    return nil
  }

  // MARK: Opening

  private func open(at now: Timestamp) throws(FileError) {
    place = LogPlace(source)
    events.watch(folder: place.folder)
    let chain = try LogChain.look(place)
    if let saved, case .file(let mark) = saved.mark {
      guard !chain.all.isEmpty else { throw FileError("open", place.path, code: ENOENT) }
      self.saved = nil
      isFirst = false
      if text.oldest != nil {
        gap(
          "qwarden did not run for long: the log since \(saved.last.iso8601) is read from an hour ago on"
        )
      }
      if let link = try find(mark, in: chain) {
        try use(link.path, from: mark.offset, length: mark.length)
        return
      }
      gap(
        "the log was rotated away or replaced while qwarden did not run: lines after \(saved.last.iso8601) may be missing"
      )
      text.oldest = max(text.oldest ?? saved.last, saved.last)
      let rest = chain.old.filter { $0.closed > saved.last }
      if let first = rest.first ?? chain.current { try use(first.path, from: 0) }
      return
    }
    if isFirst { begun = now }
    guard let current = chain.current else {
      // It may be made later, and then all of it is new.
      isFirst = false
      throw FileError("open", place.path, code: ENOENT)
    }
    try use(current.path, from: isFirst ? nil : 0)
    isFirst = false
  }

  /// The file in which this place is.
  private func find(_ mark: LogPosition.FileMark, in chain: LogChain) throws(FileError)
    -> LogChain.Link?
  {
    let links = chain.all
    let likely =
      links.filter { $0.inode == mark.inode } + links.filter { $0.inode != mark.inode }
    for link in likely where link.size >= mark.offset {
      if mark.length == 0 {
        if link.inode == mark.inode { return link }
        continue
      }
      guard let file = try? Descriptor.open(link.path, [.read, .following]) else { continue }
      let bytes = try file.read(limit: mark.length, from: mark.offset - Int64(mark.length))
      if bytes.count == mark.length, LogPosition.FileMark.hash(bytes) == mark.hash { return link }
    }
    return nil
  }

  /// - Parameters:
  ///   - from: nil: begin after the last whole line.
  ///   - length: of the bytes before that, remember so many.
  ///   - expecting: another file under this name is left alone: it was rotated meanwhile.
  private func use(
    _ path: String, from start: Int64?, length: Int = 0, expecting: UInt64? = nil
  ) throws(FileError) {
    let opened = try Descriptor.open(path, [.read, .following])
    let status = try opened.status()
    guard status.isRegular else { throw FileError("read", path, code: EISDIR) }
    if let expecting, status.inode != expecting { return }
    inode = status.inode
    isSkipping = false
    if let start {
      offset = start
      tail = length > 0 ? try opened.read(limit: length, from: start - Int64(length)) : []
    } else {
      let bytes = try opened.read(
        limit: Int(min(status.size, Int64(Self.chunk))),
        from: max(0, status.size - Int64(Self.chunk)))
      let whole = bytes.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
      offset = status.size - Int64(bytes.count - whole)
      tail = Array(bytes[..<whole].suffix(Self.tailLength))
    }
    file = consume opened
    // Its directory may have been replaced.
    events.watch(folder: place.folder)
    events.watch(file: path)
  }

  // MARK: Reading

  /// Takes the whole lines of one chunk.
  /// - Returns: bytes taken; 0 at the end of the file, with at most a part of a line left.
  private func readChunk(at now: Timestamp) throws(FileError) -> Int {
    let size = tail.count + Self.chunk
    let from = offset - Int64(tail.count)
    guard let bytes = try file?.read(limit: size, from: from) else { return 0 }
    guard bytes.starts(with: tail) else {
      // What is begun then agrees with `tail`.
      try truncated()
      return try readChunk(at: now)
    }
    var start = tail.count
    // What no read can take in whole is a line too long, not one half written.
    let isFull = bytes.count == size
    while let end = bytes[start...].firstIndex(of: UInt8(ascii: "\n")) {
      if isSkipping {
        isSkipping = false
      } else {
        take(bytes[start..<end], of: bytes, at: now)
      }
      start = end + 1
    }
    if isFull, start == tail.count {
      if !isSkipping {
        text.take(bytes[start...], at: now)
        isSkipping = true
      }
      start = bytes.count
    }
    let taken = start - tail.count
    guard taken > 0 else { return 0 }
    offset += Int64(taken)
    tail = Array(bytes[max(0, start - Self.tailLength)..<start])
    return taken
  }

  private func take(_ line: ArraySlice<UInt8>, of bytes: [UInt8], at now: Timestamp) {
    let before = text.holds
    text.take(line, at: now)
    if !text.isHolding {
      held = nil
    } else if text.holds != before {
      let start = line.startIndex
      held = LogPosition.FileMark(
        inode: inode, offset: offset + Int64(start - tail.count),
        tail: Array(bytes[max(0, start - Self.tailLength)..<start]))
    }
  }

  /// At the end of a file: whether there is more elsewhere, and then that is begun.
  private func goOn(at now: Timestamp) throws(FileError) -> Bool {
    let status: FileStatus
    do { status = try FileStatus.of(place.path, following: true) } catch {
      guard let since = missingSince, since <= now else {
        missingSince = now
        return false
      }
      if now > since + Self.longestRotation { throw error }
      return false
    }
    missingSince = nil
    if status.inode == inode {
      text.oldest = nil
      return false
    }
    let chain = try LogChain.look(place)
    let (rest, isGap) = try following(chain)
    guard let next = rest.first else { return false }
    // An empty one is not written to yet: the writer may still have the old one open.
    if next.inode == chain.current?.inode, next.size == 0 { return false }
    // The writer has moved on, so nothing comes after what is there now.
    if try readChunk(at: now) > 0 { return true }
    let part = try file?.read(limit: Self.chunk, from: offset) ?? []
    if !part.isEmpty, !isSkipping { text.take(part[...], at: now) }
    if isGap {
      gap(
        "multilog removed files before they were read: lines may be missing; let it keep more files (n) or larger ones (s)"
      )
    }
    try use(next.path, from: 0, expecting: next.inode)
    return true
  }

  /// The files after the one being read, oldest first, and whether some between may be gone.
  private func following(_ chain: LogChain) throws(FileError) -> ([LogChain.Link], isGap: Bool) {
    if let rest = chain.after(inode) { return (rest, false) }
    guard place.isMultilog else {
      // Compressed or removed since: all of it could still be read, and what was set aside later is newer.
      let closed = try file?.status().modified ?? text.last
      return (chain.all.filter { $0.closed > closed || $0.inode == chain.current?.inode }, false)
    }
    // Removed as the oldest, or put through multilog's processor, which leaves it under another inode.
    let later = chain.old.filter { $0.closed > text.last }
    text.oldest = max(text.oldest ?? text.last, text.last)
    return (
      later + (chain.current.map { [$0] } ?? []), !later.isEmpty && later.count == chain.old.count
    )
  }

  /// What was read is not there any more.
  private func truncated() throws(FileError) {
    let chain = try LogChain.look(place)
    let mark = LogPosition.FileMark(inode: 0, offset: offset, tail: tail)
    if let copy = try find(mark, in: chain), copy.inode != inode {
      try use(copy.path, from: offset, length: tail.count)
    } else {
      gap("\(place.path) was truncated, and no copy of it is beside it: lines may be missing")
      try use(place.path, from: 0)
    }
  }

  /// Nothing more will come for a piece that has waited long.
  private func letGo(at now: Timestamp) {
    guard text.isHolding else {
      heldSince = nil
      return
    }
    guard let since = heldSince, since <= now else {
      heldSince = now
      return
    }
    if now > since + Self.patience {
      text.flush(at: now)
      held = nil
      heldSince = nil
    }
  }

  private func gap(_ note: String) {
    gaps += 1
    notes.append(note)
  }
}
