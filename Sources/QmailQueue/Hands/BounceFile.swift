import Files
import Glibc
import Mail

/// `bounce/ID`, and the name beside it under which we keep it out of qmail-send's sight: `bounce/qwarden.ID.BIRTH`.
///
/// A rename inside `bounce/` works where the state directory is another filesystem or bind mount, and qmail-send never reads that
/// directory's names (qmail-send.c; experiment: no warning while running, after restart, at retirement). The birth is in the name
/// because numbers are reused.
struct BounceFile {
  let identity: EntryIdentity
  let folder: String

  init(_ identity: EntryIdentity, in layout: QueueLayout) {
    self.identity = identity
    folder = "\(layout.queue)/bounce"
  }

  private var name: String { String(identity.id) }
  private var asideName: String { "qwarden.\(identity.id).\(identity.birth.nanoseconds)" }
  private var path: String { "\(folder)/\(name)" }
  private var asidePath: String { "\(folder)/\(asideName)" }

  var exists: Bool { get throws(RetirementRefusal) { try EntryFiles.status(path) != nil } }
  var isAside: Bool { get throws(RetirementRefusal) { try EntryFiles.status(asidePath) != nil } }

  /// - Parameter files: the entry, checked before and after: under a reused number the file would be a stranger's.
  /// - Returns: false when there is no bounce, or none that may be taken any more because qmail-send is ending the message.
  func moveAside(_ files: borrowing EntryFiles, into store: QuarantineStore)
    throws(RetirementRefusal) -> Bool
  {
    // Most have neither.
    let queue = files.queue
    let hadOne = queue.has("bounce/\(asideName)") ? try keepAside(in: store) : false
    guard let found = try EntryFiles.status(.bounce, identity.id, in: queue) else { return hadOne }
    if !found.isRegular { throw .damaged(path: path, why: "it is not a plain file") }
    try files.check()
    guard try files.hasRecipientFile() else { return hadOne }
    guard rename(path, asidePath) == 0 else {
      if errno == ENOENT { return hadOne }
      throw .file(FileError("move aside", path))
    }
    do { try files.check() } catch {
      try giveUp(files)
      throw error
    }
    _ = try keepAside(in: store, removing: false)
    return true
  }

  /// Copies what stands aside into the store.
  /// - Parameter removing: also removes it (left by an earlier process).
  private func keepAside(in store: QuarantineStore, removing: Bool = true)
    throws(RetirementRefusal) -> Bool
  {
    guard let file = try EntryFiles.open(asidePath, .read) else { return false }
    do { try store.keepBounce(file, of: identity, movedIn: folder) } catch { throw .store(error) }
    if removing {
      do { try store.syncBatch() } catch { throw .store(error) }
      try removeAside()
    }
    return true
  }

  /// Gives the bounce back to qmail-send, appended when a new one has come; or drops it when the message has left or is being ended:
  /// under its number it would reach a stranger.
  func giveUp(_ files: borrowing EntryFiles) throws(RetirementRefusal) {
    guard let aside = try EntryFiles.open(asidePath, .read) else { return }
    guard try stays(files) else { return try drop() }
    // link(2) and not rename(2): it never replaces a bounce that qmail-send has begun meanwhile.
    if link(asidePath, path) != 0 {
      guard errno == EEXIST else { throw .file(FileError("put back", asidePath)) }
      if try EntryFiles.status(path)?.isSameFile(as: try status(aside)) != true {
        try append(aside)
      }
    }
    // qmail-send may have ended the message in between. Its number cannot be another's yet: `files` holds it.
    if try stays(files) { try removeAside() } else { try drop() }
  }

  private func stays(_ files: borrowing EntryFiles) throws(RetirementRefusal) -> Bool {
    do { try files.check() } catch {
      switch error {
      case .gone, .notTheSame, .unprocessed: return false
      default: throw error
      }
    }
    return try files.hasRecipientFile()
  }

  private func append(_ aside: borrowing Descriptor) throws(RetirementRefusal) {
    do throws(FileError) {
      let text = try aside.readAll(limit: 64 << 20)
      let file = try Descriptor.open(path, [.write, .append])
      try file.write(text, at: 0)  // O_APPEND: at the end, wherever that is now (pwrite(2), BUGS)
    } catch {
      throw .file(error)
    }
  }

  private func status(_ file: borrowing Descriptor) throws(RetirementRefusal) -> FileStatus {
    do { return try file.status() } catch { throw .file(error) }
  }

  /// Removes what stands aside, and the bounce itself where it is that same file: a kill in ``giveUp(_:)`` leaves both names.
  func drop() throws(RetirementRefusal) {
    guard let aside = try EntryFiles.status(asidePath) else { return }
    if try EntryFiles.status(path)?.isSameFile(as: aside) == true { try remove(path) }
    try removeAside()
  }

  func removeAside() throws(RetirementRefusal) { try remove(asidePath) }

  private func remove(_ path: String) throws(RetirementRefusal) {
    guard unlink(path) == 0 || errno == ENOENT else { throw .file(FileError("remove", path)) }
  }
}
