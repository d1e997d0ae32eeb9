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

  /// Reads the message that has this number now.
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
  /// Damaged only to this user, who may not read it.
  var isForbidden = false

  /// Bytes in memory, about.
  var weight: Int { if case .entry(let entry) = outcome { entry.weight } else { 64 } }
}

extension Entry {
  /// Bytes that it takes in memory, about.
  var weight: Int {
    (local + remote).reduce(256 + sender.bytes.count + subject.count) {
      $0 + 56 + $1.address.bytes.count
    } + unrouted.reduce(0) { $0 + 56 + $1.bytes.count }
  }
}

/// What is wrong with a message.
struct Flaw {
  var why: String
  var isForbidden = false

  init(_ why: String) { self.why = why }

  init(_ kind: QueueFile, _ code: Int32) {
    why =
      switch code {
      case ELOOP: "its \(kind.rawValue) file is a symbolic link"
      case EISDIR: "its \(kind.rawValue) file is not a file"
      case EFBIG: "its \(kind.rawValue) file is too large"
      default: "its \(kind.rawValue) file cannot be read: \(String(cString: strerror(code)))"
      }
    isForbidden = code == EACCES || code == EPERM
  }
}

extension OpenQueue {
  /// How much of a message is read: enough for the header of nearly all mail, and for a bounce as far as the copy inside it.
  static let firstRead = 8 * 1024
  static let longestHead = 64 * 1024
  /// Sender and recipients are at most 1,002 bytes each (qmail-queue); this is a million recipients.
  static let longestList = 64 << 20
  private static let longestInfo = 4096
  /// A message may be taken in, or end and give its number to another, between two of our looks: look again.
  private static let attempts = 4

  /// Reads a message. `isNew` looks in todo first, where a message that has just arrived is. With a `look`, no more is read than it asks for, and a message
  /// that it does not want is as good as gone.
  func entry(
    _ id: UInt64, _ buffer: inout ReadBuffer, isNew: Bool = false, listed: ListedNames? = nil,
    look: OpenLook? = nil
  ) -> EntryReading {
    var last: Flaw?
    for attempt in 0..<Self.attempts {
      if !isNew || attempt > 0 {
        switch processed(id, &buffer, listed, look) {
        case .whole(let reading): return reading
        case .unwanted: return EntryReading(outcome: .gone)
        case .again(let why):
          last = why
          continue
        case .absent: break
        }
      }
      switch unprocessed(id, &buffer, look) {
      case .whole(let reading): return reading
      case .unwanted: return EntryReading(outcome: .gone)
      case .again(let why):
        last = why
        continue
      case .absent:
        // Neither: it is gone, or was taken in between the two looks, which the next attempt shows.
        if attempt > 0 { return EntryReading(outcome: .gone) }
      }
    }
    guard let last else { return EntryReading(outcome: .gone) }
    return EntryReading(outcome: .damaged(id, why: last.why), isForbidden: last.isForbidden)
  }

  private enum Look {
    case whole(EntryReading)
    /// Does not fit together; a lasting reason is damage.
    case again(Flaw?)
    case absent
    /// The look passes it over.
    case unwanted
  }

  /// The message as qmail-send has taken it in; absent when there is no info or todo still stands.
  private func processed(
    _ id: UInt64, _ buffer: inout ReadBuffer, _ listed: ListedNames?, _ look: OpenLook?
  ) -> Look {
    let detail = look?.detail ?? .all
    var info = stat()
    let file: Int32
    switch open(.info, id) {
    case .missing: return .absent
    case .failed(let code): return .again(Flaw(.info, code))
    case .file(let number): file = number
    }
    // Open until the end: whether the message is still this one is then asked without looking up its name again.
    defer { buffer.spent.add(file) }
    guard fstat(file, &info) == 0, buffer.fill(from: file, limit: Self.longestInfo + 1) else {
      return .again(Flaw(.info, errno))
    }
    guard buffer.count <= Self.longestInfo else { return .again(Flaw(.info, EFBIG)) }
    let sender = InfoFile.sender(buffer.filled.span)
    let birth = info.birth
    // info/ID is made before todo/ID is removed: only without todo are info, local and remote whole.
    if listed?.lacks(.todo, id, bornAt: birth) != true, status(.todo, id) != nil { return .absent }
    guard let sender else {
      return .again(
        status(.info, id) == nil
          ? nil : Flaw("its info file is half-written, though it is not in todo"))
    }
    var entry = Entry(identity: EntryIdentity(id: id, birth: birth), sender: sender)
    for channel in Channel.allCases
    where detail.contains(.recipients) && listed?.lacks(channel.file, id, bornAt: birth) != true {
      switch read(channel.file, id, into: &buffer, limit: Self.longestList) {
      case .missing: break
      case .failed(let code): return .again(Flaw(channel.file, code))
      case .read:
        let recipients = RecipientFile(buffer.filled.span).recipients
        if channel == .local { entry.local = recipients } else { entry.remote = recipients }
      }
    }
    if detail.contains(.bouncing) {
      entry.isBouncing = listed?.bounce.contains(id) ?? (status(.bounce, id) != nil)
    }
    if let look, !look.isWanted(entry) { return .unwanted }
    let reading = readMessage(of: &entry, &buffer, look)
    if detail.isEmpty {
      // One file was read: nothing that could fail to fit together.
      return reading.isWanted ? .whole(EntryReading(outcome: .entry(entry))) : .unwanted
    }
    // The number may have changed hands between two of these openings: then this info file has lost its name.
    guard fstat(file, &info) == 0, info.st_nlink > 0, info.birth == birth else {
      return .again(nil)
    }
    if let why = reading.failure { return .again(why) }
    if !reading.isWanted { return .unwanted }
    return .whole(EntryReading(outcome: .entry(entry), infoInode: UInt64(info.st_ino)))
  }

  private func unprocessed(_ id: UInt64, _ buffer: inout ReadBuffer, _ look: OpenLook?) -> Look {
    let envelope: TodoFile
    var todo = stat()
    switch read(.todo, id, into: &buffer, limit: Self.longestList, status: &todo) {
    case .missing: return .absent
    case .failed(let code): return .again(Flaw(.todo, code))
    case .read:
      guard let file = TodoFile(buffer.filled.span) else {
        return .again(Flaw("its todo file is no whole envelope"))
      }
      envelope = file
    }
    var entry = Entry(
      identity: EntryIdentity(id: id, birth: todo.birth), sender: envelope.sender,
      unrouted: envelope.recipients, isUnprocessed: true)
    if let look, !look.isWanted(entry) { return .unwanted }
    let reading = readMessage(of: &entry, &buffer, look)
    if let why = reading.failure { return .again(why) }
    return reading.isWanted ? .whole(EntryReading(outcome: .entry(entry))) : .unwanted
  }

  /// Reads the message file as far as it is asked for, and lets the look examine it.
  private func readMessage(of entry: inout Entry, _ buffer: inout ReadBuffer, _ look: OpenLook?)
    -> (failure: Flaw?, isWanted: Bool)
  {
    var file: Int32 = -1
    defer { if file >= 0 { buffer.spent.add(file) } }
    guard let look else { return (readHead(of: &entry, &buffer, &file), true) }
    guard look.detail.contains(.message) else { return (nil, look.examine(entry, nil)) }
    if let why = readHead(of: &entry, &look.message.buffer, &file) { return (why, false) }
    look.message.begin(file, size: entry.size)
    let isWanted = look.examine(entry, look.message)
    return (look.message.failure.map { Flaw(.mess, $0) }, isWanted)
  }

  /// Reads size, source, subject and list marks out of the message file.
  /// - Parameter file: the open file, for the caller to read on and to close.
  /// - Returns: nil when it could be read, else why not.
  private func readHead(of entry: inout Entry, _ buffer: inout ReadBuffer, _ file: inout Int32)
    -> Flaw?
  {
    switch open(.mess, entry.identity.id) {
    case .missing: return Flaw("its mess file is missing")
    case .failed(let code): return Flaw(.mess, code)
    case .file(let number): file = number
    }
    var status = stat()
    guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
      buffer.fill(from: file, limit: Self.firstRead)
    else { return Flaw(.mess, errno) }
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
}

extension Channel {
  var file: QueueFile { self == .local ? .local : .remote }
}
