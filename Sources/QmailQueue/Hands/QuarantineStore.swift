import Files
import Glibc
import Mail
import Synchronization

/// The messages set aside, on disk: a directory of our own (0700), and in it for each message
/// `ID.BIRTH.mail` (a ``QuarantinedMessage``, and behind it the exact bytes of `mess/…/ID`) and, where the entry had
/// failed recipients, `ID.BIRTH.bounce` (the text of `bounce/ID`); BIRTH in nanoseconds. One file a message, because a new file costs
/// more than all else that is done for it.
///
/// The envelope tells the length of the whole: a file that is shorter is a copy that was cut off before anything in the queue was touched.
/// Earlier versions had two files, `.envelope` and `.message`; those are read still. Two threads or processes may share a store.
public final class QuarantineStore: Sendable {
  public let path: String
  let directory: Descriptor
  private let owner: FileStatus
  /// Root works in a store that is another's.
  private let isForeign: Bool
  private let unflushed = Mutex(Unflushed())

  /// What was done since the last ``syncBatch()``.
  private struct Unflushed {
    /// Files written.
    var names: [String] = []
    /// Directories of the queue that names were moved in.
    var folders: Set<String> = []
    var isEmpty: Bool { names.isEmpty && folders.isEmpty }
  }

  /// Opens the store.
  /// - Parameter creating: make the directory when it is missing (its parent must exist).
  /// - Throws: `.foreign` for a symbolic link, a file, another user's directory, or one that others may enter.
  public init(path: String, creating: Bool) throws(QuarantineError) {
    do throws(FileError) {
      if creating { try Folder.make(path, handed: true) }
      directory = try Descriptor.open(path, .directory)
      owner = try directory.status()
    } catch {
      if error.isMissing && !creating {
        throw QuarantineError(.missing, path, "there is no quarantine here")
      }
      if error.code == ELOOP || error.code == ENOTDIR {
        throw QuarantineError(
          .foreign, path, "the quarantine must be a directory, not a link or file")
      }
      throw QuarantineError(error)
    }
    self.path = path
    isForeign = geteuid() != owner.uid
    if owner.uid != geteuid() && geteuid() != 0 {
      throw QuarantineError(
        .foreign, path, "the quarantine belongs to uid \(owner.uid); run as that user or as root")
    }
    if owner.permissions & 0o077 != 0 {
      throw QuarantineError(.foreign, path, "others may enter the quarantine; chmod 700 it")
    }
  }

  // MARK: Reading

  /// What the names in the store say, without opening a file.
  public struct Contents: Sendable, Hashable {
    /// With message and envelope, oldest first. One that was cut short may be among them: only reading tells.
    public var messages: [EntryIdentity] = []
    /// A bounce alone, or half of an earlier version's pair: left by a copy or a deletion cut short.
    public var partial: [EntryIdentity] = []
    /// Names that no store of ours holds.
    public var foreign: [String] = []
  }

  /// What is in the store now.
  public func contents() throws(QuarantineError) -> Contents {
    // A byte for each of the files that make a copy: there may be very many copies.
    var parts: [EntryIdentity: UInt8] = [:]
    var contents = Contents()
    try files { () throws(FileError) in
      try directory.forEachItem { item in
        let name = String(decoding: item.name, as: UTF8.self)
        if let (identity, part) = Self.parse(name) {
          let bit: UInt8 =
            switch part {
            case "mail": 1
            case "message": 2
            case "envelope": 4
            default: 0
            }
          parts[identity, default: 0] |= bit
        } else {
          contents.foreign.append(name)
        }
      }
    }
    for (identity, found) in parts {
      if found & 1 != 0 || found & 6 == 6 {
        contents.messages.append(identity)
      } else {
        contents.partial.append(identity)
      }
    }
    contents.messages.sort()
    contents.partial.sort()
    contents.foreign.sort()
    return contents
  }

  /// The envelope of one message.
  /// - Throws: `.missing`, or `.damaged` when the envelope's bytes are not ours or the message has not the size it tells.
  public func read(_ identity: EntryIdentity) throws(QuarantineError) -> QuarantinedMessage {
    try open(identity, .read, checkingSize: true).message
  }

  /// The envelope opened for changing recipients' states.
  public func open(_ identity: EntryIdentity) throws(QuarantineError) -> QuarantineEnvelope {
    try open(identity, .readWrite, checkingSize: true)
  }

  /// The envelope alone, whatever the message's state.
  func envelope(_ identity: EntryIdentity) throws(QuarantineError) -> QuarantineEnvelope {
    try open(identity, .readWrite, checkingSize: false)
  }

  private func open(_ identity: EntryIdentity, _ access: Descriptor.Access, checkingSize: Bool)
    throws(QuarantineError) -> QuarantineEnvelope
  {
    let file = try mail(identity, access)
    let envelope = try decode(file, identity)
    do { try checkSize(envelope, file) } catch {
      if checkingSize || error.kind == .missing { throw error }
    }
    return QuarantineEnvelope(file: file, envelope)
  }

  /// The file that begins with the envelope.
  private func mail(_ identity: EntryIdentity, _ access: Descriptor.Access)
    throws(QuarantineError) -> Descriptor
  {
    do { return try part("mail", of: identity, access) } catch let none
      where none.kind == .missing
    {
      do { return try part("envelope", of: identity, access) } catch  where error.kind == .missing {
        throw none
      }
    }
  }

  private func decode(_ file: borrowing Descriptor, _ identity: EntryIdentity)
    throws(QuarantineError) -> EnvelopeFormat.Envelope
  {
    var limit = 16 << 10
    while true {
      let bytes = try files { () throws(FileError) in try file.read(limit: limit) }
      if bytes.isEmpty { throw Self.unfinished(file.path) }
      switch EnvelopeFormat.decode(bytes) {
      case .whole(let envelope):
        if envelope.message.identity == identity { return envelope }
      case .cut(let isUntouched):
        if bytes.count == limit, limit < 256 << 20 {
          limit *= 4
          continue
        }
        if isUntouched { throw Self.unfinished(file.path) }
      case .foreign: break
      }
      throw QuarantineError(
        .damaged, file.path, "this is no envelope that this version can read")
    }
  }

  /// Killed, or the machine went down, before the copy was flushed, so nothing was marked: as if it were not there.
  private static func unfinished(_ path: String) -> QuarantineError {
    QuarantineError(.missing, path, "its copy was never finished")
  }

  private func checkSize(_ envelope: EnvelopeFormat.Envelope, _ file: borrowing Descriptor)
    throws(QuarantineError)
  {
    let message = envelope.message
    let found: Int64
    if let start = envelope.start {
      found = try files { () throws(FileError) in try file.status().size } - start
      if found < message.size, message.phase != .marked,
        message.recipients.allSatisfy({ $0.state == .pending })
      {
        throw Self.unfinished(file.path)
      }
    } else {
      let body = try separate(message.identity)
      found = try files { () throws(FileError) in try body.status().size }
    }
    guard found == message.size else {
      throw QuarantineError(
        .damaged, file.path,
        "the message has \(max(found, 0)) bytes, its envelope says \(message.size)")
    }
  }

  /// The message's bytes, for reading or as a child's input.
  public func message(_ identity: EntryIdentity) throws(QuarantineError) -> QuarantinedBody {
    let file = try mail(identity, .read)
    if let start = try decode(file, identity).start {
      return QuarantinedBody(file: file, start: start)
    }
    return QuarantinedBody(file: try separate(identity), start: 0)
  }

  private func separate(_ identity: EntryIdentity) throws(QuarantineError) -> Descriptor {
    do { return try part("message", of: identity, .read) } catch  where error.kind == .missing {
      throw QuarantineError(
        .damaged, error.path, "there is an envelope, but its message is missing")
    }
  }

  /// The text of the `bounce/ID` that was moved aside; nil when there was none. At most 1 MB of it.
  public func bounce(_ identity: EntryIdentity) throws(QuarantineError) -> [UInt8]? {
    do {
      let file = try part("bounce", of: identity, .read)
      return try files { () throws(FileError) in try file.read(limit: 1 << 20) }
    } catch  where error.kind == .missing {
      return nil
    }
  }

  // MARK: Removing

  /// Removes a message, whole or partial.
  public func delete(_ identity: EntryIdentity) throws(QuarantineError) {
    for part in ["mail", "envelope", "envelope.new", "bounce", "message"] {
      do { try directory.unlink(Self.name(identity, part)) } catch  where !error.isMissing {
        throw QuarantineError(error)
      } catch {}
    }
  }

  // MARK: Writing

  /// Copies a message of `message.size` bytes from the open `mess/…/ID` and writes its envelope; durable only after ``syncBatch()``.
  /// - Parameter beginning: what has been read of the message already.
  /// - Throws: `.exists` when the store has it already. A copy cut short is replaced.
  func add(
    _ message: QuarantinedMessage, from source: borrowing Descriptor, beginning: [UInt8] = []
  ) throws(QuarantineError) -> QuarantineEnvelope {
    let identity = message.identity
    let name = Self.name(identity, "mail")
    let file: Descriptor
    do throws(FileError) { file = try create(name) } catch {
      guard error.code == EEXIST else { throw QuarantineError(error) }
      do {
        _ = try read(identity)
      } catch  where error.kind == .missing {
        try delete(identity)
        return try add(message, from: source, beginning: beginning)
      }
      throw QuarantineError(.exists, "\(path)/\(name)", "the message is in quarantine already")
    }
    unflushed.withLock { $0.names.append(name) }
    do throws(FileError) {
      return QuarantineEnvelope(
        file: file, try Self.write(message, from: source, beginning, to: file))
    } catch {
      try? delete(identity)
      throw QuarantineError(error)
    }
  }

  /// Envelope and message in one piece where the message is not long.
  private static func write(
    _ message: QuarantinedMessage, from source: borrowing Descriptor, _ beginning: [UInt8],
    to file: borrowing Descriptor
  ) throws(FileError) -> EnvelopeFormat.Envelope {
    var (bytes, states) = EnvelopeFormat.encode(message)
    let start = Int64(bytes.count)
    bytes += beginning
    var copied = Int64(beginning.count)
    var written: Int64 = 0
    while true {
      if copied < message.size {
        let more = try source.read(limit: Int(min(message.size - copied, 1 << 20)), from: copied)
        // A file of the queue does not change once it is whole.
        if more.isEmpty { throw FileError("copy", source.path, code: EIO) }
        bytes += more
        copied += Int64(more.count)
      }
      try file.write(bytes, at: written)
      if copied >= message.size { break }
      written += Int64(bytes.count)
      bytes = []
    }
    return EnvelopeFormat.Envelope(message: message, states: states, start: start)
  }

  /// Appends the text of a bounce file to the message's `.bounce`. What must last is that the file left `folder` (``syncBatch()``); the
  /// text is for the reader only and is not waited for.
  func keepBounce(
    _ source: borrowing Descriptor, of identity: EntryIdentity, movedIn folder: String
  ) throws(QuarantineError) {
    do throws(FileError) {
      let name = Self.name(identity, "bounce")
      let file: Descriptor
      do { file = try create(name) } catch  where error.code == EEXIST {
        file = try directory.open(name, .write)
      }
      try Self.copy(source, to: file, at: try file.status().size)
      unflushed.withLock { _ = $0.folders.insert(folder) }
    } catch {
      throw QuarantineError(error)
    }
  }

  /// Whether ``syncBatch()`` has nothing to do.
  var isFlushed: Bool { unflushed.withLock { $0.isEmpty } }

  /// Makes everything done since the last call outlive the machine: call it after a batch of copies, and again after their bounces were
  /// moved aside, before any mark.
  ///
  /// A few files are flushed one by one; many by one syncfs(2), because each fsync(2) waits for the disk by itself (600 files on ext4:
  /// 1.4 s against 0.06 s), though syncfs may have to write other programs' data too. It also reports others' failures, so after one
  /// each file is asked for itself.
  public func syncBatch() throws(QuarantineError) {
    // Held while the disk works: whoever comes meanwhile must not take the batch for flushed.
    try files { () throws(FileError) in
      try unflushed.withLock { unflushed throws(FileError) in
        if unflushed.isEmpty { return }
        let isWhole = unflushed.names.count > 8 && (try? directory.syncFilesystem()) != nil
        if !isWhole && !unflushed.names.isEmpty {
          for name in unflushed.names {
            // Missing: cancelled meanwhile.
            do throws(FileError) { try directory.open(name).sync() } catch  where error.isMissing {}
          }
          try directory.sync()
        }
        for folder in unflushed.folders {
          try Descriptor.open(folder, [.directory, .following]).sync()
        }
        unflushed = Unflushed()
      }
    }
  }

  /// Makes every state that was written in an envelope outlive the machine: one wait for the disk, for however many.
  public func syncAll() throws(QuarantineError) {
    try files { () throws(FileError) in try directory.syncFilesystem() }
  }

  // MARK: Files

  private func create(_ name: String) throws(FileError) -> Descriptor {
    let file = try directory.open(name, [.readWrite, .create, .exclusive], mode: 0o600)
    if isForeign { try file.setOwner(uid: owner.uid, gid: owner.gid) }
    return file
  }

  /// A file of the store, refused when it is not a plain file of the store's owner.
  private func part(_ part: String, of identity: EntryIdentity, _ access: Descriptor.Access)
    throws(QuarantineError) -> Descriptor
  {
    let name = Self.name(identity, part)
    do {
      let file = try directory.open(name, access)
      let status = try file.status()
      guard status.isRegular, status.uid == owner.uid, status.links == 1 else {
        throw QuarantineError(
          .foreign, file.path, "this is not a plain file of the quarantine's owner")
      }
      return file
    } catch let error as FileError {
      if error.code == ELOOP || error.code == ENXIO {
        throw QuarantineError(
          .foreign, error.path, "this is a link or a FIFO, not a quarantined file")
      }
      if error.isMissing {
        throw QuarantineError(.missing, error.path, "its copy is not there")
      }
      throw QuarantineError(error)
    } catch let error as QuarantineError {
      throw error
    } catch {
      throw QuarantineError(.damaged, "\(path)/\(name)", "\(error)")
    }
  }

  /// - Returns: bytes copied.
  @discardableResult
  private static func copy(
    _ source: borrowing Descriptor, to target: borrowing Descriptor, at start: Int64
  ) throws(FileError) -> Int64 {
    var done: Int64 = 0
    while true {
      let limit = Int(min(max(try source.status().size - done, 0), 1 << 20)) + 1
      let bytes = try source.read(limit: limit, from: done)
      try target.write(bytes, at: start + done)
      done += Int64(bytes.count)
      if bytes.count < limit { return done }
    }
  }

  private func files<T>(_ body: () throws(FileError) -> T) throws(QuarantineError) -> T {
    do { return try body() } catch { throw QuarantineError(error) }
  }

  static func name(_ identity: EntryIdentity, _ part: String) -> String {
    "\(identity.id).\(identity.birth.nanoseconds).\(part)"
  }

  private static func parse(_ name: String) -> (EntryIdentity, String)? {
    let pieces = name.split(separator: ".", maxSplits: 2, omittingEmptySubsequences: false)
    guard pieces.count == 3, let id = UInt64(pieces[0]), let birth = Int64(pieces[1]),
      ["mail", "message", "envelope", "envelope.new", "bounce"].contains(pieces[2])
    else { return nil }
    let identity = EntryIdentity(id: id, birth: Timestamp(nanoseconds: birth))
    guard Self.name(identity, String(pieces[2])) == name else { return nil }
    return (identity, String(pieces[2]))
  }
}

/// An open envelope of the quarantine: states are changed by writing one byte in place, never by rewriting.
public struct QuarantineEnvelope: ~Copyable, Sendable {
  private let file: Descriptor
  fileprivate var envelope: EnvelopeFormat.Envelope
  public var message: QuarantinedMessage { envelope.message }

  init(file: consuming Descriptor, _ envelope: EnvelopeFormat.Envelope) {
    self.file = file
    self.envelope = envelope
  }

  /// Writes the state of the recipient at `index`. Not flushed: it outlives this process, and the machine only after ``sync()``.
  public mutating func set(_ state: QuarantinedState, of index: Int) throws(FileError) {
    guard envelope.message.recipients[index].state != state else { return }
    try file.write(byte: state.rawValue, at: envelope.states[index])
    envelope.message.recipients[index].state = state
  }

  mutating func set(_ phase: QuarantinedMessage.Phase) throws(FileError) {
    guard envelope.message.phase != phase else { return }
    try file.write(byte: phase.rawValue, at: EnvelopeFormat.phaseOffset)
    envelope.message.phase = phase
  }

  /// When a letter was last changed.
  func modified() throws(FileError) -> Timestamp { try file.status().modified }

  /// Makes the states outlive the machine.
  public func sync() throws(FileError) { try file.sync() }
}

/// The bytes of a quarantined message, in their file.
public struct QuarantinedBody: ~Copyable, Sendable {
  public let file: Descriptor
  /// Where in the file they begin.
  public let start: Int64

  public init(file: consuming Descriptor, start: Int64) {
    self.file = file
    self.start = start
  }

  /// At most `limit` bytes from `offset` in the message.
  public func read(limit: Int, from offset: Int64 = 0) throws(FileError) -> [UInt8] {
    try file.read(limit: limit, from: start + offset)
  }
}
