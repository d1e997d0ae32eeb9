import Files
import Glibc
import Mail

/// Reads single messages of a queue: each file opened once, whatever happens to it meanwhile.
public struct EntryReader: Sendable {
  /// What became of reading one message.
  public enum Outcome: Sendable, Hashable {
    case entry(Entry)
    /// It is not there, or not any more. Also a `mess` file with neither `info` nor `todo`: qmail-queue is writing it, or died.
    case gone
    /// Something is there that is no whole message, and why.
    case damaged(UInt64, why: String)
  }

  let layout: QueueLayout

  /// Opens nothing yet: each reading finds the queue that is there then.
  public init(layout: QueueLayout) {
    self.layout = layout
  }

  public func read(_ id: UInt64) -> Outcome {
    let queue: OpenQueue
    do { queue = try OpenQueue(layout) } catch {
      return error.kind == .noQueue ? .gone : .damaged(id, why: error.description)
    }
    var buffer = ReadBuffer()
    return queue.entry(id, &buffer).outcome
  }
}

/// A reading with what the watcher keeps.
struct EntryReading {
  var outcome: EntryReader.Outcome
  /// Inode of the info file; 0 for an entry in todo.
  var infoInode: UInt64 = 0
}

extension OpenQueue {
  /// How much of a message is read: enough for the header of nearly all mail, and for a bounce as far as the copy inside it.
  private static let firstRead = 8 * 1024
  private static let longestHead = 64 * 1024
  /// Sender and recipients are at most 1,002 bytes each (qmail-queue); this is a million recipients.
  static let longestList = 64 << 20
  private static let longestInfo = 4096
  /// A message may be taken in, or end and give its number to another, between two of our looks: look again.
  private static let attempts = 4

  /// Reads a message. `isNew` looks in todo first, where a message that has just arrived is. `bouncing`, the names in `bounce`, saves looking for
  /// each where many are read: a name that is not there is dear to look up.
  func entry(
    _ id: UInt64, _ buffer: inout ReadBuffer, isNew: Bool = false, bouncing: Set<UInt64>? = nil
  ) -> EntryReading {
    var last: String?
    for attempt in 0..<Self.attempts {
      if !isNew || attempt > 0 {
        switch processed(id, &buffer, bouncing) {
        case .whole(let reading): return reading
        case .again(let why):
          last = why
          continue
        case .absent: break
        }
      }
      switch unprocessed(id, &buffer) {
      case .whole(let reading): return reading
      case .again(let why):
        last = why
        continue
      case .absent:
        // Neither: it is gone, or was taken in between the two looks, which the next attempt shows.
        if attempt > 0 { return EntryReading(outcome: .gone) }
      }
    }
    return EntryReading(outcome: last.map { .damaged(id, why: $0) } ?? .gone)
  }

  private enum Look {
    case whole(EntryReading)
    /// Does not fit together; a lasting reason is damage.
    case again(String?)
    case absent
  }

  /// The message as qmail-send has taken it in; absent when there is no info or todo still stands.
  private func processed(
    _ id: UInt64, _ buffer: inout ReadBuffer, _ bouncing: Set<UInt64>?
  ) -> Look {
    var info = stat()
    let sender: Address?
    switch read(.info, id, into: &buffer, limit: Self.longestInfo, status: &info) {
    case .missing: return .absent
    case .failed(let code): return .again(Self.why(.info, code))
    case .read: sender = InfoFile.sender(buffer.filled.span)
    }
    // info/ID is made before todo/ID is removed: only without todo are info, local and remote whole.
    if status(.todo, id) != nil { return .absent }
    guard let sender else {
      return .again(
        status(.info, id) == nil ? nil : "its info file is half-written, though it is not in todo")
    }
    var entry = Entry(identity: EntryIdentity(id: id, birth: info.birth), sender: sender)
    for channel in Channel.allCases {
      switch read(channel.file, id, into: &buffer, limit: Self.longestList) {
      case .missing: break
      case .failed(let code): return .again(Self.why(channel.file, code))
      case .read:
        let recipients = RecipientFile(buffer.filled.span).recipients
        if channel == .local { entry.local = recipients } else { entry.remote = recipients }
      }
    }
    entry.isBouncing = bouncing?.contains(id) ?? (status(.bounce, id) != nil)
    let hasMess = readHead(of: &entry, &buffer)
    // The number may have changed hands between two of these openings: then info is another file.
    guard let after = status(.info, id), after.st_ino == info.st_ino, after.birth == info.birth
    else { return .again(nil) }
    if let why = hasMess { return .again(why) }
    return .whole(EntryReading(outcome: .entry(entry), infoInode: UInt64(info.st_ino)))
  }

  private func unprocessed(_ id: UInt64, _ buffer: inout ReadBuffer) -> Look {
    let envelope: TodoFile
    var todo = stat()
    switch read(.todo, id, into: &buffer, limit: Self.longestList, status: &todo) {
    case .missing: return .absent
    case .failed(let code): return .again(Self.why(.todo, code))
    case .read:
      guard let file = TodoFile(buffer.filled.span) else {
        return .again("its todo file is no whole envelope")
      }
      envelope = file
    }
    var entry = Entry(
      identity: EntryIdentity(id: id, birth: todo.birth), sender: envelope.sender,
      unrouted: envelope.recipients, isUnprocessed: true)
    if let why = readHead(of: &entry, &buffer) { return .again(why) }
    return .whole(EntryReading(outcome: .entry(entry)))
  }

  /// Reads size, source, subject and list marks out of the message file.
  /// - Returns: nil when it could be read, else why not.
  private func readHead(of entry: inout Entry, _ buffer: inout ReadBuffer) -> String? {
    let file: Int32
    switch open(.mess, entry.identity.id) {
    case .missing: return "its mess file is missing"
    case .failed(let code): return Self.why(.mess, code)
    case .file(let number): file = number
    }
    defer { close(file) }
    var status = stat()
    guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
      buffer.fill(from: file, limit: Self.firstRead)
    else { return Self.why(.mess, errno) }
    var head = MessageHead(buffer.filled.span)
    while head.isCut, buffer.count < min(Int(status.st_size), Self.longestHead) {
      let before = buffer.count
      guard buffer.extend(from: file, limit: before * 2, offset: 0), buffer.count > before else {
        break
      }
      head = MessageHead(buffer.filled.span)
    }
    entry.size = Int64(status.st_size)
    entry.source = head.source
    entry.queuedBy = head.pid
    entry.isList = head.isList
    entry.subject = head.subject
    return nil
  }

  private static func why(_ kind: QueueFile, _ code: Int32) -> String {
    switch code {
    case ELOOP: "its \(kind.rawValue) file is a symbolic link"
    case EISDIR: "its \(kind.rawValue) file is not a file"
    case EFBIG: "its \(kind.rawValue) file is too large"
    default: "its \(kind.rawValue) file cannot be read: \(String(cString: strerror(code)))"
    }
  }
}

extension Channel {
  var file: QueueFile { self == .local ? .local : .remote }
}
