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
  /// Whether some process holds an flock on this file, from `/proc/locks`; nil where that cannot be read.
  public static func isLocked(_ path: String) throws(FileError) -> Bool? {
    try holders(of: path).map { !$0.isEmpty }
  }

  /// The processes that hold an flock on this file; nil where `/proc/locks` cannot be read. 0 stands for a process that cannot be seen
  /// from here, as outside a container.
  public static func holders(of path: String) throws(FileError) -> [Int32]? {
    let file = try FileStatus.of(path)
    guard let table = try? Descriptor.open("/proc/locks"),
      let bytes = try? table.readStream(limit: 4 << 20)
    else { return nil }
    return holders(of: file, in: bytes) { filesystem(of: path) }
  }

  /// - Parameter filesystem: asked where the inode's number is right and its device is not.
  static func holders(of file: FileStatus, in table: [UInt8], filesystem: () -> Device?) -> [Int32]
  {
    var holders: [Int32] = []
    for words in Self.words(table) {
      // "1: FLOCK ADVISORY WRITE 1234 08:01:1412638 0 EOF"; waiters have "->" as the second word.
      guard words.count >= 6, words[1] == "FLOCK" else { continue }
      let parts = words[5].split(separator: ":")
      guard parts.count == 3, let major = UInt64(parts[0], radix: 16),
        let minor = UInt64(parts[1], radix: 16), UInt64(parts[2]) == file.inode
      else { continue }
      let device = Device(major: major, minor: minor)
      if device == Device(file.device) || device == filesystem() {
        holders.append(Int32(words[4]) ?? 0)
      }
    }
    return holders
  }

  struct Device: Equatable {
    var major: UInt64
    var minor: UInt64

    init(major: UInt64, minor: UInt64) { (self.major, self.minor) = (major, minor) }

    /// As stat(2) packs it.
    init(_ device: UInt64) {
      self.init(
        major: (device >> 8) & 0xFFF, minor: (device & 0xFF) | ((device >> 12) & 0xFFF00))
    }
  }

  /// The device of the filesystem that this file is on, as `/proc/locks` says it: on btrfs stat(2) says that of the subvolume.
  static func filesystem(of path: String) -> Device? {
    let folder = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
    guard let directory = try? Descriptor.open(folder, [.directory, .following]),
      let info = try? Descriptor.open("/proc/thread-self/fdinfo/\(directory.number)")
        .readStream(limit: 4096),
      let mount = words(info, by: "\t").first(where: { $0.first == "mnt_id:" })?.last,
      let table = try? Descriptor.open("/proc/self/mountinfo").readStream(limit: 4 << 20),
      // "66 44 0:39 / /srv rw,relatime - btrfs …".
      let line = words(table).first(where: { $0.first == mount }), line.count > 2
    else { return nil }
    let numbers = line[2].split(separator: ":").compactMap { UInt64($0) }
    return numbers.count == 2 ? Device(major: numbers[0], minor: numbers[1]) : nil
  }

  private static func words(_ table: [UInt8], by blank: Character = " ") -> [[String]] {
    table.split(separator: UInt8(ascii: "\n")).map { line in
      String(decoding: line, as: UTF8.self).split(separator: blank).map(String.init)
    }
  }
}
