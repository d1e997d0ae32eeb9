import Glibc

/// Directories of our own.
public enum Folder {
  /// Makes `path`, open to its owner alone, when it is missing (its parent must exist), for good, and checks that what is there is a directory.
  /// - Parameter handed: a new one is ``hand(_:)``ed over.
  public static func make(_ path: String, handed: Bool = false) throws(FileError) {
    if mkdir(path, 0o700) == 0 {
      if handed { try hand(Descriptor.open(path, .directory)) }
      // Files flushed in a directory whose own name is not are lost with it.
      try Descriptor.open("\(path)/..", .directory).sync()
      return
    }
    guard errno == EEXIST else { throw FileError("create", path) }
    guard try FileStatus.of(path, following: true).isDirectory else {
      throw FileError("use", path, code: ENOTDIR)
    }
  }

  /// Makes a directory under `/tmp` that nothing else has, open to its owner alone.
  /// - Returns: its path: `/tmp/NAME-` and six letters.
  public static func makeTemporary(_ name: String) throws(FileError) -> String {
    var template = Array("/tmp/\(name)-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw FileError("create", "/tmp/\(name)-XXXXXX") }
    return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// Whether names may be changed in it by this process, as far as the kernel can say.
  public static func isWritable(_ path: String) -> Bool {
    faccessat(AT_FDCWD, path, W_OK | X_OK, AT_EACCESS) == 0
  }

  /// Gives what root has made in another's directory to that one: a command run by root must not lock the daemon out of its own files.
  public static func hand(_ file: borrowing Descriptor) throws(FileError) {
    guard geteuid() == 0 else { return }
    let cut = file.path.lastIndex(of: "/")
    let folder = cut.map { $0 == file.path.startIndex ? "/" : String(file.path[..<$0]) } ?? "."
    let owner = try FileStatus.of(folder, following: true)
    // With a second name it may be any file of root's.
    let status = try file.status()
    if !status.isDirectory, status.links != 1 { return }
    if owner.uid != 0 { try file.setOwner(uid: owner.uid, gid: owner.gid) }
  }

  /// Free shares of the filesystem that holds `path`: of its bytes and of its inodes, 0…1; inodes 1 where they are not counted.
  public static func free(_ path: String) throws(FileError) -> (space: Double, inodes: Double) {
    var status = statvfs()
    guard statvfs(path, &status) == 0 else { throw FileError("look at", path) }
    let space = status.f_blocks > 0 ? Double(status.f_bavail) / Double(status.f_blocks) : 1
    let inodes = status.f_files > 0 ? Double(status.f_favail) / Double(status.f_files) : 1
    return (space, inodes)
  }
}
