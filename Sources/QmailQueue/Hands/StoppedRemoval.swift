import Files
import Glibc
import Mail

/// Taking messages out of a queue whose qmail-send is stopped, in its stead. For both parts the caller holds
/// ``QmailSend/holdOff(_:)``, and flushes the queue's filesystem before it counts on the removal.
///
/// Files go in the order in which qmail itself removes them, so that a stop at any point leaves one of the states of qmail's INTERNALS
/// (section 2), which the next qmail-send knows how to end.
public enum StoppedQueue {
  /// Whether this process may remove what qmailq owns; else only qmail-send can.
  public static func isWritable(_ layout: QueueLayout) -> Bool {
    ["mess/0", "todo", "intd", "info/0", "local/0", "remote/0"].allSatisfy {
      access("\(layout.queue)/\($0)", W_OK) == 0
    }
  }

  static func remove(_ kind: QueueFile, _ id: UInt64, in layout: QueueLayout)
    throws(RetirementRefusal)
  {
    let path = layout.path(kind, id)
    guard unlink(path) == 0 || errno == ENOENT else { throw .file(FileError("remove", path)) }
  }
}

extension QueueLayout {
  /// Makes all that was written and removed in the queue so far outlive the machine: one wait for the disk, for however many files.
  public func sync() throws(FileError) {
    try Descriptor.open(queue, [.directory, .following]).syncFilesystem()
  }
}

extension DepartingEntry {
  /// Removes a marked entry as qmail-send would at its next pass (qmail-send.c, `job_close`, `messdone`): recipients, info, then mess. Its bounce must have
  /// been swept. Cut off after info, mess is left alone in state S2, which qmail-send clears when it is old.
  /// - Returns: false when it is not wholly marked, and nothing was touched.
  public func removeForQmail() throws(RetirementRefusal) -> Bool {
    switch try state() {
    case .gone: return true
    case .marksLost: return false
    case .leaving: break
    }
    if try EntryFiles.status(layout.path(.bounce, identity.id)) != nil { return false }
    for kind in [QueueFile.local, .remote, .info, .mess] {
      try StoppedQueue.remove(kind, identity.id, in: layout)
    }
    return true
  }
}

/// A message in todo being taken out of a stopped queue: ``open(_:sender:in:)`` → ``copy(into:at:boot:)`` → `store.syncBatch()` → ``note()`` →
/// `store.syncAll()` → ``remove()`` → `store.syncAll()`, ``QueueLayout/sync()`` → ``clear()``. Each step may be made for many before the next.
///
/// Removing `todo/ID` is the one step that takes it from qmail. What qmail-send may have left of info, local and remote when it was killed while taking
/// it in goes before, as qmail-send itself removes it first (qmail-send.c, `todo_do`); intd too, as qmail-clean does. Then mess.
public struct UnprocessedRetirement: ~Copyable {
  public let identity: EntryIdentity
  public let sender: Address
  private let layout: QueueLayout
  private let mess: Descriptor
  private let size: Int64
  private var envelope: QuarantineEnvelope?
  public let recipients: [QuarantinedRecipient]

  /// - Parameter identity: with the mtime of `todo`.
  public static func open(_ identity: EntryIdentity, sender: Address, in layout: QueueLayout)
    throws(RetirementRefusal) -> UnprocessedRetirement
  {
    let path = layout.path(.todo, identity.id)
    guard let todo = try EntryFiles.open(path, .read) else { throw .gone }
    let bytes: [UInt8]
    let birth: Timestamp
    do throws(FileError) {
      birth = try todo.status().modified
      bytes = try todo.readAll(limit: 256 << 20)
    } catch { throw .file(error) }
    guard let envelope = TodoFile(bytes.span) else {
      throw .damaged(path: path, why: "it is no whole envelope")
    }
    guard birth == identity.birth else { throw .notTheSame("it was queued at another time") }
    guard envelope.sender == sender else { throw .notTheSame("it has another sender") }
    if envelope.recipients.isEmpty { throw .alreadyDone }
    let message = layout.path(.mess, identity.id)
    guard let mess = try EntryFiles.open(message, .read) else {
      throw .damaged(path: message, why: "the message itself is missing")
    }
    let size: Int64
    do throws(FileError) { size = try mess.status().size } catch { throw .file(error) }
    // Nobody has routed them yet: as remote ones they are given back as they are, with no virtual domain's prepend to strip.
    var offset: Int64 = 0
    let recipients = envelope.recipients.map { address in
      defer { offset += Int64(address.bytes.count) + 2 }
      return QuarantinedRecipient(address: address, channel: .remote, offset: offset)
    }
    return UnprocessedRetirement(
      identity: identity, sender: sender, layout: layout, mess: mess, size: size, envelope: nil,
      recipients: recipients)
  }

  /// Copies message and envelope into the store; durable only after `store.syncBatch()`.
  public mutating func copy(
    into store: QuarantineStore, at now: Timestamp, boot: String = WallClock.bootID()
  ) throws(QuarantineError) {
    let message = QuarantinedMessage(
      identity: identity, sender: sender, size: size, taken: now, boot: boot, phase: .unprocessed,
      recipients: recipients)
    envelope = try store.add(message, from: mess)
  }

  /// Notes in the copy that it is about to be taken. That must be on the disk before ``remove()``: a copy without the note is that of a
  /// message which qmail still has.
  public mutating func note() throws(RetirementRefusal) {
    try check()
    do throws(FileError) {
      for index in recipients.indices { try envelope?.set(.marked, of: index) }
    } catch { throw .file(error) }
  }

  /// Takes it from qmail, and says so in the copy.
  public mutating func remove() throws(RetirementRefusal) {
    try check()
    for kind in [QueueFile.local, .remote, .info, .intd, .todo] {
      try StoppedQueue.remove(kind, identity.id, in: layout)
    }
    do { try envelope?.set(QuarantinedMessage.Phase.marked) } catch { throw .file(error) }
  }

  /// Removes what is left: a message alone (state S2), which means nothing to qmail.
  public func clear() throws(RetirementRefusal) {
    try StoppedQueue.remove(.mess, identity.id, in: layout)
  }

  private func check() throws(RetirementRefusal) {
    let todo = try EntryFiles.status(layout.path(.todo, identity.id))
    guard todo?.modified == identity.birth else { throw .gone }
  }
}
