import Glibc

/// Directories of our own.
public enum Folder {
  /// Makes `path` when it is missing (its parent must exist) and checks that what is there is a directory.
  public static func make(_ path: String, mode: mode_t = 0o700) throws(FileError) {
    if mkdir(path, mode) == 0 { return }
    guard errno == EEXIST else { throw FileError("create", path) }
    guard try FileStatus.of(path, following: true).isDirectory else {
      throw FileError("use", path, code: ENOTDIR)
    }
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
