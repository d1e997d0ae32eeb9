import Glibc
import Mail

/// What stat(2) says of a file.
public struct FileStatus: Hashable, Sendable {
  public var device: UInt64
  public var inode: UInt64
  public var size: Int64
  public var modified: Timestamp
  /// File type and permission bits as in `st_mode`.
  public var mode: UInt32
  public var links: UInt64
  public var uid: UInt32
  public var gid: UInt32

  public init(_ status: stat) {
    device = UInt64(status.st_dev)
    inode = UInt64(status.st_ino)
    size = Int64(status.st_size)
    modified = Timestamp(seconds: status.st_mtim.tv_sec, nanoseconds: status.st_mtim.tv_nsec)
    mode = status.st_mode
    links = UInt64(status.st_nlink)
    uid = status.st_uid
    gid = status.st_gid
  }

  public var isRegular: Bool { mode & S_IFMT == S_IFREG }
  public var isDirectory: Bool { mode & S_IFMT == S_IFDIR }
  public var isSymbolicLink: Bool { mode & S_IFMT == S_IFLNK }
  public var permissions: UInt32 { mode & 0o7777 }

  /// The same file on disk (device and inode).
  public func isSameFile(as other: FileStatus) -> Bool {
    device == other.device && inode == other.inode
  }

  /// - Parameter following: whether a final symbolic link is followed; not by default.
  public static func of(_ path: String, following: Bool = false) throws(FileError) -> FileStatus {
    try of(path, at: AT_FDCWD, shown: path, following: following)
  }

  static func of(_ path: String, at directory: Int32, shown: String, following: Bool = false)
    throws(FileError) -> FileStatus
  {
    var status = stat()
    guard fstatat(directory, path, &status, following ? 0 : AT_SYMLINK_NOFOLLOW) == 0 else {
      throw FileError("look at", shown)
    }
    return FileStatus(status)
  }
}
