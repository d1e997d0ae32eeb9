import Glibc

/// flock(2) on a file of our own.
public struct FileLock: ~Copyable, Sendable {
  private let file: Descriptor

  /// Takes the lock without waiting for it, creating `path` when it is missing and `creating`.
  /// - Returns: nil when somebody else holds it.
  public static func take(_ path: String, creating: Bool = true) throws(FileError) -> FileLock? {
    let file = try Descriptor.open(
      path, creating ? [.readWrite, .create] : .readWrite, mode: 0o600)
    if creating { try Folder.hand(file) }
    while flock(file.number, LOCK_EX | LOCK_NB) != 0 {
      if errno == EINTR { continue }
      if errno == EWOULDBLOCK { return nil }
      throw FileError("lock", path)
    }
    return FileLock(file: file)
  }

  private init(file: consuming Descriptor) { self.file = file }

  // Closing alone is not enough while a copy of the descriptor is open: in a child between fork and exec, or in a thread with a
  // descriptor table of its own.
  deinit { flock(file.number, LOCK_UN) }
}

/// Who holds locks, without taking one: a tool that takes even a shared lock on qmail-send's `sendmutex` for a moment
/// can make a starting qmail-send exit (experiment, notqmail 1.09).
public enum LockTable {
  /// Whether some process holds an flock on the file with this status, from `/proc/locks`; nil where that cannot be read.
  public static func isLocked(_ file: FileStatus) -> Bool? {
    holders(of: file).map { !$0.isEmpty }
  }

  /// The processes that hold an flock on the file with this status; nil where `/proc/locks` cannot be read. 0 stands for a process that
  /// cannot be seen from here, as outside a container.
  public static func holders(of file: FileStatus) -> [Int32]? {
    guard let table = try? Descriptor.open("/proc/locks"),
      let bytes = try? table.readStream(limit: 4 << 20)
    else { return nil }
    var holders: [Int32] = []
    for line in bytes.split(separator: UInt8(ascii: "\n")) {
      let words = line.split(separator: UInt8(ascii: " ")).map {
        String(decoding: $0, as: UTF8.self)
      }
      // "1: FLOCK ADVISORY WRITE 1234 08:01:1412638 0 EOF"; waiters have "->" as the second word.
      guard words.count >= 6, words[1] == "FLOCK" else { continue }
      let parts = words[5].split(separator: ":")
      guard parts.count == 3, let major = UInt64(parts[0], radix: 16),
        let minor = UInt64(parts[1], radix: 16), let inode = UInt64(parts[2])
      else { continue }
      if inode == file.inode && major == (file.device >> 8) & 0xFFF
        && minor == (file.device & 0xFF) | ((file.device >> 12) & 0xFFF00)
      {
        holders.append(Int32(words[4]) ?? 0)
      }
    }
    return holders
  }
}
