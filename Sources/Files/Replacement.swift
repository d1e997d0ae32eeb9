import Glibc

/// Replaces a file by rename, so that a reader sees the old bytes or the new ones and never a part.
public enum Replacement {
  /// Writes `bytes` beside `path`, gives them the owner and mode asked for, flushes, calls `lastLook`, renames over `path`, flushes the directory.
  ///
  /// - Parameters:
  ///   - lastLook: called just before the rename; throw from it to leave `path` as it is.
  ///   - secondLook: called when the new file is in its place, with the status of the one that was there and is not yet removed; throw from
  ///     it to put that one back. Not called where there was none, or the filesystem cannot exchange names.
  ///   - durable: whether to fsync; false for files that are rebuilt at each start.
  public static func write<E: Error>(
    _ bytes: [UInt8], to path: String, mode: UInt32, owner: (uid: UInt32, gid: UInt32)? = nil,
    durable: Bool = true, lastLook: () throws(E) -> Void,
    secondLook: (_ displaced: FileStatus) throws(E) -> Void
  ) throws(ReplacementError<E>) {
    let cut = path.lastIndex(of: "/")
    let folder = cut.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    let name = cut.map { String(path[path.index(after: $0)...]) } ?? path
    // One name, so that a kill leaves one file at most; whoever edits this file holds a lock, or is the only one.
    let temporary = ".\(name).qwarden-new"
    do {
      let directory = try Descriptor.open(folder, [.directory, .following])
      try? directory.unlink(temporary)
      do {
        let file = try directory.open(
          temporary, [.write, .create, .exclusive], mode: mode_t(0o600))
        try file.write(bytes, at: 0)
        // The mode first: once the file is given away, only its new owner may change that (or CAP_FOWNER, which none
        // of our services has).
        try file.setPermissions(mode)
        if let owner {
          let now = try file.status()
          if now.uid != owner.uid || now.gid != owner.gid {
            do { try file.setOwner(uid: owner.uid, gid: owner.gid) } catch {
              // A file of root's that all may read loses nothing by becoming ours; any other might.
              guard error.isPermission, owner.uid == 0, mode & 0o004 != 0 else { throw error }
            }
          }
        }
        if durable { try file.sync() }
        do { try lastLook() } catch {
          try? directory.unlink(temporary)
          throw ReplacementError<E>.refused(error)
        }
        // Nobody looks where no look can refuse.
        if E.self == Never.self {
          try directory.rename(temporary, to: name)
        } else if try place(temporary, as: name, in: directory) {
          let displaced = try directory.status(of: temporary)
          do { try secondLook(displaced) } catch {
            try directory.exchange(temporary, with: name)
            // Not ours: somebody else has replaced it in this moment, and theirs stays.
            if try directory.status(of: temporary).inode != file.status().inode {
              try directory.exchange(temporary, with: name)
            }
            try? directory.unlink(temporary)
            throw ReplacementError<E>.refused(error)
          }
          // One that stays is removed by the next edit.
          try? directory.unlink(temporary)
        }
        if durable { try directory.sync() }
      } catch let error as FileError {
        try? directory.unlink(temporary)
        throw error
      }
    } catch let error as ReplacementError<E> {
      throw error
    } catch let error as FileError {
      throw .file(error)
    } catch {
      throw .file(FileError("replace", path))
    }
  }

  /// - Returns: whether a file had the name, which `temporary` names now.
  private static func place(
    _ temporary: String, as name: String, in directory: borrowing Descriptor
  ) throws(FileError) -> Bool {
    while true {
      do {
        try directory.exchange(temporary, with: name)
        return true
      } catch { if error.code != ENOENT { break } }
      do {
        try directory.rename(temporary, toNew: name)
        return false
      } catch { if error.code != EEXIST { break } }
    }
    try directory.rename(temporary, to: name)
    return false
  }

  /// Throws where `path`, which a person named, is there and no regular file: a rename would put a file in the place of a device, a FIFO
  /// or a link.
  public static func allow(_ path: String) throws(FileError) {
    guard let status = try? FileStatus.of(path), !status.isRegular else { return }
    throw FileError(
      "create", path, code: EEXIST,
      remedy: status.isSymbolicLink
        ? "it is a symbolic link: name the file that it stands for"
        : "it is no regular file, and only such are replaced")
  }

  /// The same without a last look.
  public static func write(
    _ bytes: [UInt8], to path: String, mode: UInt32, owner: (uid: UInt32, gid: UInt32)? = nil,
    durable: Bool = true
  ) throws(FileError) {
    do throws(ReplacementError<Never>) {
      try write(
        bytes, to: path, mode: mode, owner: owner, durable: durable,
        lastLook: { () throws(Never) in }, secondLook: { _ throws(Never) in })
    } catch {
      switch error {
      case .file(let error): throw error
      }
    }
  }
}

/// Why a file was not replaced; the old one stands.
public enum ReplacementError<Refusal: Error>: Error {
  case file(FileError)
  case refused(Refusal)
}
