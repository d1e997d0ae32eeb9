import Files
import Glibc
import Mail

/// The open message and recipient files of one entry, and the entry's names. An entry's number is the inode number of `mess/…/ID`: while
/// that file is held open here, no other message can get the number, so what was checked stays true of these names until they are gone.
struct EntryFiles: ~Copyable {
  let identity: EntryIdentity
  let sender: Address
  let layout: QueueLayout
  let queue: OpenQueue
  let mess: Held?
  private let info: FileStatus
  private let local: Held?
  private let remote: Held?

  /// An open file, and its status when it was opened: what tells it from others does not change while it is open.
  struct Held: ~Copyable {
    let file: Descriptor
    let status: FileStatus
  }

  /// Opens the files first and checks afterwards: what was checked is then what is held, whatever happens to the names later.
  /// - Parameters:
  ///   - sender: nil: whoever `info` names.
  ///   - queue: held open for a batch; nil: the one that is there now.
  static func open(
    _ identity: EntryIdentity, sender: Address?, in layout: QueueLayout, _ queue: OpenQueue? = nil
  ) throws(RetirementRefusal) -> EntryFiles {
    let queue = if let queue { queue } else { try open(layout) }
    let mess = try open(.mess, identity.id, .read, in: queue)
    let local = try open(.local, identity.id, .readWrite, in: queue)
    let remote = try open(.remote, identity.id, .readWrite, in: queue)
    let (info, named) = try readInfo(identity, sender: sender, in: queue)
    let files = EntryFiles(
      identity: identity, sender: named, layout: layout, queue: queue, mess: mess, info: info,
      local: local, remote: remote)
    try files.checkRecipients()
    return files
  }

  static func open(_ layout: QueueLayout) throws(RetirementRefusal) -> OpenQueue {
    do { return try OpenQueue(opening: layout) } catch { throw .file(error) }
  }

  /// A plain file of the queue; nil when there is none of that name.
  private static func open(
    _ kind: QueueFile, _ id: UInt64, _ access: Descriptor.Access, in queue: OpenQueue
  ) throws(RetirementRefusal) -> Held? {
    guard let file = try named(kind, id, access, in: queue) else { return nil }
    let status = try plain(file, access)
    return Held(file: file, status: status)
  }

  private static func named(
    _ kind: QueueFile, _ id: UInt64, _ access: Descriptor.Access, in queue: OpenQueue
  ) throws(RetirementRefusal) -> Descriptor? {
    switch queue.open(kind, id, access) {
    case .file(let number): return Descriptor(owning: number, path: queue.path(kind, id))
    case .missing: return nil
    case .failed(let code): throw refusal(code, queue.path(kind, id))
    }
  }

  /// As by its path.
  static func open(_ path: String, _ access: Descriptor.Access)
    throws(RetirementRefusal) -> Descriptor?
  {
    let file: Descriptor
    do { file = try Descriptor.open(path, access) } catch {
      if error.code == ENOENT { return nil }
      throw refusal(error.code, path)
    }
    _ = try plain(file, access)
    return file
  }

  /// - Throws: where it is not a plain file, or one to be marked that has a second name.
  private static func plain(_ file: borrowing Descriptor, _ access: Descriptor.Access)
    throws(RetirementRefusal) -> FileStatus
  {
    let status = try Self.file { () throws(FileError) in try file.status() }
    if !status.isRegular { throw .damaged(path: file.path, why: "it is not a plain file") }
    if access == .readWrite && status.links > 1 {
      throw .damaged(
        path: file.path, why: "it has a second name (hard link), which would be marked too")
    }
    return status
  }

  private static func refusal(_ code: Int32, _ path: String) -> RetirementRefusal {
    code == ELOOP
      ? .damaged(path: path, why: "it is a symbolic link, which qmail never makes")
      : .file(FileError("open", path, code: code))
  }

  /// Makes sure that the names still mean this message: `todo/ID` absent, `info` the file that was read, with its exact mtime, and each
  /// recipient file the one that is open here (or gone, its recipients being done).
  borrowing func check() throws(RetirementRefusal) {
    if try Self.status(.todo, identity.id, in: queue) != nil { throw .unprocessed }
    guard let named = try Self.status(.info, identity.id, in: queue) else {
      throw Self.absence(of: identity.id, in: queue)
    }
    guard named.isSameFile(as: info), named.modified == identity.birth else {
      throw Self.takenInLater
    }
    try checkRecipients()
  }

  /// Why an entry has no `info`: it has left, unless its whole directory is not there, as when the queue's disk is not mounted.
  private static func absence(of id: UInt64, in queue: OpenQueue) -> RetirementRefusal {
    let part = queue.spread.directory(.info, Int(id % queue.spread.split))
    if queue.has(part) { return .gone }
    return .file(FileError("open", "\(queue.top.path)/\(part)", code: ENOENT))
  }

  private static let takenInLater = RetirementRefusal.notTheSame("it was taken in at another time")

  /// - Returns: what stands for the message from now on, and its sender.
  private static func readInfo(_ identity: EntryIdentity, sender: Address?, in queue: OpenQueue)
    throws(RetirementRefusal) -> (FileStatus, Address)
  {
    let id = identity.id
    if try status(.todo, id, in: queue) != nil { throw .unprocessed }
    guard let info = try named(.info, id, .read, in: queue) else {
      throw absence(of: id, in: queue)
    }
    let status = try file { () throws(FileError) in try info.status() }
    if !status.isRegular {
      throw .damaged(path: queue.path(.info, id), why: "it is not a plain file")
    }
    let found = try file { () throws(FileError) in try info.readOnce(limit: 4096) }
    guard status.modified == identity.birth else { throw takenInLater }
    guard let named = InfoFile.sender(found), sender == nil || sender == named else {
      throw .notTheSame("it has another sender")
    }
    return (status, named)
  }

  private borrowing func checkRecipients() throws(RetirementRefusal) {
    for channel in Channel.allCases {
      guard let named = try Self.status(.init(channel), identity.id, in: queue) else { continue }
      guard let held = heldStatus(of: channel), held.isSameFile(as: named) else {
        throw .notTheSame("its \(channel.rawValue) recipients are in another file")
      }
    }
  }

  /// Whether a recipient file still stands under its name. Without one qmail-send is ending the message: it may be reading `bounce/ID`
  /// at this moment, and must find it again to remove it (qmail-send.c, `messdone`, `injectbounce`; experiment: "unable to unlink bounce").
  borrowing func hasRecipientFile() throws(RetirementRefusal) -> Bool {
    for channel in Channel.allCases {
      if try Self.status(.init(channel), identity.id, in: queue) != nil { return true }
    }
    return false
  }

  var hasMessage: Bool {
    switch mess {
    case .some: true
    case .none: false
    }
  }

  /// Of the message when it was opened; 0 when there was none.
  var size: Int64 { Self.status(of: mess)?.size ?? 0 }

  private func heldStatus(of channel: Channel) -> FileStatus? {
    switch channel {
    case .local: Self.status(of: local)
    case .remote: Self.status(of: remote)
    }
  }

  private static func status(of held: borrowing Held?) -> FileStatus? {
    switch held {
    case .some(let held): held.status
    case .none: nil
    }
  }

  /// Status of the open file, now; nil when the entry had none.
  borrowing func status(of channel: Channel) throws(RetirementRefusal) -> FileStatus? {
    try with(channel) { (file: borrowing Descriptor) throws(FileError) in try file.status() }
  }

  /// All records of one channel.
  borrowing func records(of channel: Channel) throws(RetirementRefusal) -> [Record] {
    let bytes = try with(channel) { (file: borrowing Descriptor) throws(FileError) in
      let beginning = try file.readOnce(limit: 4096)
      return beginning.count < 4096 ? beginning : try file.readAll(limit: 256 << 20)
    }
    guard let records = Self.parse(bytes ?? []) else {
      throw .damaged(
        path: layout.path(.init(channel), identity.id), why: "it holds something else than records")
    }
    return records
  }

  /// The letter of a record, read now.
  borrowing func letter(of recipient: QuarantinedRecipient) throws(RetirementRefusal) -> UInt8 {
    // A recipient file is removed once all in it are done (qmail-send.c, job_close).
    guard
      let byte = try with(
        recipient.channel,
        { (file: borrowing Descriptor) throws(FileError) in
          try file.read(limit: 1, from: recipient.offset)
        })
    else { return Record.done }
    guard let letter = byte.first, letter == Record.pending || letter == Record.done else {
      throw .damaged(
        path: layout.path(.init(recipient.channel), identity.id),
        why: "there is no record at byte \(recipient.offset)")
    }
    return letter
  }

  /// Writes `D`, exactly as qmail-send's `markdone` does. Not flushed, as qmail's own is not.
  borrowing func markDone(_ recipient: QuarantinedRecipient) throws(RetirementRefusal) {
    _ = try with(recipient.channel) { (file: borrowing Descriptor) throws(FileError) in
      try file.write(byte: Record.done, at: recipient.offset)
    }
  }

  /// One recipient record, `T` or `D`, address, NUL.
  struct Record {
    static let pending = UInt8(ascii: "T")
    static let done = UInt8(ascii: "D")
    var offset: Int64
    var isDone: Bool
    var address: Address
  }

  /// nil when these bytes are not a row of whole records.
  static func parse(_ bytes: [UInt8]) -> [Record]? {
    var records: [Record] = []
    var at = 0
    while at < bytes.count {
      guard bytes[at] == Record.pending || bytes[at] == Record.done,
        let end = bytes[at...].firstIndex(of: 0)
      else { return nil }
      records.append(
        Record(
          offset: Int64(at), isDone: bytes[at] == Record.done,
          address: Address(bytes[(at + 1)..<end])))
      at = end + 1
    }
    return records
  }

  static func status(_ kind: QueueFile, _ id: UInt64, in queue: OpenQueue)
    throws(RetirementRefusal) -> FileStatus?
  {
    if let status = queue.status(kind, id) { return FileStatus(status) }
    if errno == ENOENT { return nil }
    throw .file(FileError("look at", queue.path(kind, id)))
  }

  /// Status of a name in the queue, links not followed; nil when there is none.
  static func status(_ path: String) throws(RetirementRefusal) -> FileStatus? {
    do { return try FileStatus.of(path) } catch {
      if error.code == ENOENT { return nil }
      throw .file(error)
    }
  }

  private borrowing func with<T>(
    _ channel: Channel, _ body: (borrowing Descriptor) throws(FileError) -> T
  ) throws(RetirementRefusal) -> T? {
    do {
      switch channel {
      case .local:
        switch local {
        case .some(let held): return try body(held.file)
        case .none: return nil
        }
      case .remote:
        switch remote {
        case .some(let held): return try body(held.file)
        case .none: return nil
        }
      }
    } catch {
      throw .file(error)
    }
  }

  private static func file<T>(_ body: () throws(FileError) -> T) throws(RetirementRefusal) -> T {
    do { return try body() } catch { throw .file(error) }
  }
}

extension QueueFile {
  init(_ channel: Channel) {
    switch channel {
    case .local: self = .local
    case .remote: self = .remote
    }
  }
}
