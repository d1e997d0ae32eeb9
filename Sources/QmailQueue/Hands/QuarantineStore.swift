import Files
import Glibc
import Mail

/// The messages set aside, on disk: a directory of our own (0700), and in it for each message
/// `ID.BIRTH.message` (the exact bytes of `mess/…/ID`), `ID.BIRTH.envelope` (a ``QuarantinedMessage``) and, where the entry had
/// failed recipients, `ID.BIRTH.bounce` (the text of `bounce/ID`); BIRTH in nanoseconds.
///
/// An envelope appears under its name only when it and the message are whole, so a message without one is a copy that was cut off
/// before anything in the queue was touched. Not for use by two tasks at once; two processes may share a store.
public final class QuarantineStore {
  public let path: String
  let directory: Descriptor
  private let owner: FileStatus
  /// Names written since the last ``syncBatch()``.
  private var unsynced: [String] = []
  /// Directories of the queue that names were moved in, likewise.
  private var changedFolders: Set<String> = []

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
    /// With message and envelope, oldest first.
    public var messages: [EntryIdentity] = []
    /// A message or bounce without envelope, an envelope without message, a temporary file: left by a copy or a deletion cut short.
    public var partial: [EntryIdentity] = []
    /// Names that no store of ours holds.
    public var foreign: [String] = []
  }

  public func contents() throws(QuarantineError) -> Contents {
    var parts: [EntryIdentity: Set<String>] = [:]
    var contents = Contents()
    for name in try files({ () throws(FileError) in try directory.names() }) {
      if let (identity, part) = Self.parse(name) {
        parts[identity, default: []].insert(part)
      } else {
        contents.foreign.append(name)
      }
    }
    for (identity, found) in parts {
      if found.isSuperset(of: ["message", "envelope"]) {
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
    let envelope = try open(identity, .read)
    return envelope.message
  }

  /// The envelope opened for changing recipients' states.
  public func open(_ identity: EntryIdentity) throws(QuarantineError) -> QuarantineEnvelope {
    try open(identity, .readWrite)
  }

  private func open(_ identity: EntryIdentity, _ access: Descriptor.Access)
    throws(QuarantineError) -> QuarantineEnvelope
  {
    let envelope = try envelope(identity, access)
    try checkSize(envelope.message)
    return envelope
  }

  /// The envelope alone, whatever the message's state.
  func envelope(_ identity: EntryIdentity, _ access: Descriptor.Access = .readWrite)
    throws(QuarantineError) -> QuarantineEnvelope
  {
    let file = try part("envelope", of: identity, access)
    let bytes = try files { () throws(FileError) in try file.readAll(limit: 256 << 20) }
    if bytes.isEmpty {
      // The machine went down before the copy was flushed, so nothing was marked: as if it were not there.
      throw QuarantineError(
        .missing, file.path, "the envelope is empty: its copy was never finished")
    }
    guard let (message, states) = EnvelopeFormat.decode(bytes), message.identity == identity else {
      throw QuarantineError(
        .damaged, file.path, "this is no envelope that this version can read")
    }
    return QuarantineEnvelope(file: file, message: message, states: states)
  }

  func checkSize(_ message: QuarantinedMessage) throws(QuarantineError) {
    let found: Int64
    let path = "\(path)/\(Self.name(message.identity, "message"))"
    do {
      let body = try part("message", of: message.identity, .read)
      found = try files { () throws(FileError) in try body.status().size }
    } catch  where error.kind == .missing {
      throw QuarantineError(.damaged, path, "there is an envelope, but its message is missing")
    }
    guard found == message.size else {
      throw QuarantineError(
        .damaged, path, "the message has \(found) bytes, its envelope says \(message.size)")
    }
  }

  /// The message's bytes, for reading or as a child's input: at the start of the file.
  public func message(_ identity: EntryIdentity) throws(QuarantineError) -> Descriptor {
    try part("message", of: identity, .read)
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

  /// Messages copied before `limit`. Unreadable ones are not among them.
  public func taken(before limit: Timestamp) throws(QuarantineError) -> [EntryIdentity] {
    var found: [EntryIdentity] = []
    for identity in try contents().messages {
      if let message = try? read(identity), message.taken < limit { found.append(identity) }
    }
    return found
  }

  // MARK: Removing

  /// Removes a message, whole or partial, envelope first: cut short, it leaves a partial message, never an envelope alone.
  public func delete(_ identity: EntryIdentity) throws(QuarantineError) {
    for part in ["envelope", "envelope.new", "bounce", "message"] {
      do { try directory.unlink(Self.name(identity, part)) } catch  where !error.isMissing {
        throw QuarantineError(error)
      } catch {}
    }
  }

  // MARK: Writing

  /// Copies a message from the open `mess/…/ID` and writes its envelope; durable only after ``syncBatch()``.
  /// - Throws: `.exists` when the store has it already. A copy cut short is removed again.
  func add(_ message: QuarantinedMessage, from source: borrowing Descriptor)
    throws(QuarantineError) -> QuarantineEnvelope
  {
    let identity = message.identity
    if (try? directory.status(of: Self.name(identity, "envelope"))) != nil {
      throw QuarantineError(
        .exists, "\(path)/\(Self.name(identity, "envelope"))",
        "the message is in quarantine already")
    }
    do throws(FileError) {
      return try write(message, from: source)
    } catch {
      try? delete(identity)
      if error.code != EEXIST { throw QuarantineError(error) }
    }
    // A copy that was cut off stood in the way.
    do throws(FileError) {
      return try write(message, from: source)
    } catch {
      try? delete(identity)
      throw QuarantineError(error)
    }
  }

  private func write(_ message: QuarantinedMessage, from source: borrowing Descriptor)
    throws(FileError) -> QuarantineEnvelope
  {
    let identity = message.identity
    let body = try create(Self.name(identity, "message"))
    var message = message
    message.size = try Self.copy(source, to: body, at: 0)

    let temporary = Self.name(identity, "envelope.new")
    let file = try create(temporary)
    let (bytes, states) = EnvelopeFormat.encode(message)
    try file.write(bytes, at: 0)
    try directory.rename(temporary, to: Self.name(identity, "envelope"))
    unsynced += [Self.name(identity, "message"), Self.name(identity, "envelope")]
    return QuarantineEnvelope(file: file, message: message, states: states)
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
      changedFolders.insert(folder)
    } catch {
      throw QuarantineError(error)
    }
  }

  /// Whether ``syncBatch()`` has nothing to do.
  var isFlushed: Bool { unsynced.isEmpty && changedFolders.isEmpty }

  /// Makes everything done since the last call outlive the machine: call it after a batch of copies, and again after their bounces were
  /// moved aside, before any mark.
  ///
  /// A few files are flushed one by one; many by one syncfs(2), because each fsync(2) waits for the disk by itself (600 files on ext4:
  /// 1.4 s against 0.06 s), though syncfs may have to write other programs' data too. It also reports others' failures, so after one
  /// each file is asked for itself.
  public func syncBatch() throws(QuarantineError) {
    do throws(FileError) {
      let isWhole = unsynced.count > 8 && (try? directory.syncFilesystem()) != nil
      if !isWhole && !unsynced.isEmpty {
        for name in unsynced {
          // Missing: cancelled meanwhile.
          do { try directory.open(name).sync() } catch  where error.isMissing {}
        }
        try directory.sync()
      }
      for folder in changedFolders { try Descriptor.open(folder, .directory).sync() }
    } catch {
      throw QuarantineError(error)
    }
    unsynced = []
    changedFolders = []
  }

  // MARK: Files

  private func create(_ name: String) throws(FileError) -> Descriptor {
    let file = try directory.open(name, [.readWrite, .create, .exclusive], mode: 0o600)
    if geteuid() != owner.uid { try file.setOwner(uid: owner.uid, gid: owner.gid) }
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
        throw QuarantineError(.missing, error.path, "there is no such message in quarantine")
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
      ["message", "envelope", "envelope.new", "bounce"].contains(pieces[2])
    else { return nil }
    let identity = EntryIdentity(id: id, birth: Timestamp(nanoseconds: birth))
    guard Self.name(identity, String(pieces[2])) == name else { return nil }
    return (identity, String(pieces[2]))
  }
}

/// An open envelope of the quarantine: states are changed by writing one byte in place, never by rewriting.
public struct QuarantineEnvelope: ~Copyable {
  private let file: Descriptor
  private let states: [Int64]
  public private(set) var message: QuarantinedMessage

  init(file: consuming Descriptor, message: QuarantinedMessage, states: [Int64]) {
    self.file = file
    self.message = message
    self.states = states
  }

  /// Writes the state of the recipient at `index`. Not flushed: it outlives this process, and the machine only after ``sync()``.
  public mutating func set(_ state: QuarantinedState, of index: Int) throws(FileError) {
    guard message.recipients[index].state != state else { return }
    try file.write([state.rawValue], at: states[index])
    message.recipients[index].state = state
  }

  mutating func set(_ phase: QuarantinedMessage.Phase) throws(FileError) {
    guard message.phase != phase else { return }
    try file.write([phase.rawValue], at: EnvelopeFormat.phaseOffset)
    message.phase = phase
  }

  /// When a letter was last changed.
  func modified() throws(FileError) -> Timestamp { try file.status().modified }

  public func sync() throws(FileError) { try file.sync() }
}
