import Files
import Glibc
import Mail

/// The open message and recipient files of one entry, and the entry's names. An entry's number is the inode number of `mess/…/ID`: while
/// that file is held open here, no other message can get the number, so what was checked stays true of these names until they are gone.
struct EntryFiles: ~Copyable {
  let identity: EntryIdentity
  let sender: Address
  let layout: QueueLayout
  let mess: Descriptor?
  private let local: Descriptor?
  private let remote: Descriptor?

  /// Opens the files first and checks afterwards: what was checked is then what is held, whatever happens to the names later.
  static func open(_ identity: EntryIdentity, sender: Address, in layout: QueueLayout)
    throws(RetirementRefusal) -> EntryFiles
  {
    let mess = try open(layout.path(.mess, identity.id), .read)
    let local = try open(layout.path(.local, identity.id), .readWrite)
    let remote = try open(layout.path(.remote, identity.id), .readWrite)
    let files = EntryFiles(
      identity: identity, sender: sender, layout: layout, mess: mess, local: local, remote: remote)
    try files.check()
    return files
  }

  /// A plain file of the queue; nil when there is none of that name.
  static func open(_ path: String, _ access: Descriptor.Access)
    throws(RetirementRefusal) -> Descriptor?
  {
    guard let file = try named(path, access) else { return nil }
    let status = try Self.file { () throws(FileError) in try file.status() }
    if !status.isRegular { throw .damaged(path: path, why: "it is not a plain file") }
    if access == .readWrite && status.links > 1 {
      throw .damaged(path: path, why: "it has a second name (hard link), which would be marked too")
    }
    return file
  }

  private static func named(_ path: String, _ access: Descriptor.Access)
    throws(RetirementRefusal) -> Descriptor?
  {
    do { return try Descriptor.open(path, access) } catch {
      if error.code == ENOENT { return nil }
      if error.code == ELOOP {
        throw .damaged(path: path, why: "it is a symbolic link, which qmail never makes")
      }
      throw .file(error)
    }
  }

  /// Makes sure that the names still mean this message: `todo/ID` absent, `info` with its exact mtime and sender, and each recipient
  /// file the one that is open here (or gone, its recipients being done).
  borrowing func check() throws(RetirementRefusal) {
    let id = identity.id
    if try Self.status(layout.path(.todo, id)) != nil { throw .unprocessed }
    let path = layout.path(.info, id)
    guard let info = try Self.open(path, .read) else { throw .gone }
    let birth = try Self.file { () throws(FileError) in try info.status().modified }
    guard birth == identity.birth else { throw .notTheSame("it was taken in at another time") }
    let expected = [UInt8(ascii: "F")] + sender.bytes + [0]
    let found = try Self.file { () throws(FileError) in try info.read(limit: expected.count) }
    guard found == expected else { throw .notTheSame("it has another sender") }
    for channel in Channel.allCases {
      guard let named = try Self.status(layout.path(.init(channel), id)) else { continue }
      guard let held = try status(of: channel), held.isSameFile(as: named) else {
        throw .notTheSame("its \(channel.rawValue) recipients are in another file")
      }
    }
  }

  /// Whether a recipient file still stands under its name. Without one qmail-send is ending the message: it may be reading `bounce/ID`
  /// at this moment, and must find it again to remove it (qmail-send.c, `messdone`, `injectbounce`; experiment: "unable to unlink bounce").
  borrowing func hasRecipientFile() throws(RetirementRefusal) -> Bool {
    for channel in Channel.allCases {
      if try Self.status(layout.path(.init(channel), identity.id)) != nil { return true }
    }
    return false
  }

  var hasMessage: Bool {
    switch mess {
    case .some: true
    case .none: false
    }
  }

  /// Status of the open file; nil when the entry had none.
  borrowing func status(of channel: Channel) throws(RetirementRefusal) -> FileStatus? {
    try with(channel) { (file: borrowing Descriptor) throws(FileError) in try file.status() }
  }

  /// All records of one channel.
  borrowing func records(of channel: Channel) throws(RetirementRefusal) -> [Record] {
    let bytes = try with(channel) { (file: borrowing Descriptor) throws(FileError) in
      try file.readAll(limit: 256 << 20)
    }
    guard let records = Self.parse(bytes ?? []) else {
      throw .damaged(
        path: layout.path(.init(channel), identity.id), why: "it holds something else than records")
    }
    return records
  }

  /// The letter of a record, read now.
  borrowing func letter(of recipient: QuarantinedRecipient) throws(RetirementRefusal) -> UInt8 {
    let byte = try with(recipient.channel) { (file: borrowing Descriptor) throws(FileError) in
      try file.read(limit: 1, from: recipient.offset)
    }
    guard let letter = byte?.first, letter == Record.pending || letter == Record.done else {
      throw .damaged(
        path: layout.path(.init(recipient.channel), identity.id),
        why: "there is no record at byte \(recipient.offset)")
    }
    return letter
  }

  /// Writes `D`, exactly as qmail-send's `markdone` does. Not flushed, as qmail's own is not.
  borrowing func markDone(_ recipient: QuarantinedRecipient) throws(RetirementRefusal) {
    _ = try with(recipient.channel) { (file: borrowing Descriptor) throws(FileError) in
      try file.write([Record.done], at: recipient.offset)
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
        case .some(let file): return try body(file)
        case .none: return nil
        }
      case .remote:
        switch remote {
        case .some(let file): return try body(file)
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
