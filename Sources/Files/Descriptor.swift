import CLinux
import Glibc

/// An open file. Closed when it goes out of scope; cannot be copied, so it cannot be closed twice.
///
/// Every opening is `O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK`: a symbolic link planted in a queue or control directory is refused
/// (`ELOOP`), and a FIFO planted there cannot hang the reader.
public struct Descriptor: ~Copyable, Sendable {
  /// The number, for the kernel calls that other rooms own (inotify, Dispatch sources).
  public let number: Int32
  /// For error messages.
  public let path: String

  /// Takes over an open descriptor.
  public init(owning number: Int32, path: String) {
    self.number = number
    self.path = path
  }

  deinit { close(number) }

  public struct Access: OptionSet, Sendable {
    public let rawValue: Int32
    public init(rawValue: Int32) { self.rawValue = rawValue }
    public static let read = Access([])
    public static let write = Access(rawValue: O_WRONLY)
    public static let readWrite = Access(rawValue: O_RDWR)
    public static let directory = Access(rawValue: O_DIRECTORY)
    public static let create = Access(rawValue: O_CREAT)
    /// With `create`: fail when it exists.
    public static let exclusive = Access(rawValue: O_EXCL)
    public static let truncate = Access(rawValue: O_TRUNC)
    public static let append = Access(rawValue: O_APPEND)
    /// Follow a final symbolic link, where the administrator may have good reason for one.
    public static let following = Access(rawValue: 1 << 30)
  }

  /// - Parameter mode: permissions of a created file, cut by the umask.
  public static func open(_ path: String, _ access: Access = .read, mode: mode_t = 0o600)
    throws(FileError) -> Descriptor
  {
    try open(path, at: AT_FDCWD, shown: path, access, mode: mode)
  }

  /// Opens `name` relative to this directory.
  public func open(_ name: String, _ access: Access = .read, mode: mode_t = 0o600)
    throws(FileError) -> Descriptor
  {
    try Self.open(name, at: number, shown: "\(path)/\(name)", access, mode: mode)
  }

  private static func open(
    _ name: String, at directory: Int32, shown: String, _ access: Access, mode: mode_t
  ) throws(FileError) -> Descriptor {
    let nofollow = access.contains(.following) ? 0 : O_NOFOLLOW
    let flags = (access.rawValue & ~Access.following.rawValue) | O_CLOEXEC | O_NONBLOCK | nofollow
    let number = Glibc.openat(directory, name, flags, mode)
    guard number >= 0 else {
      throw FileError(
        access.contains(.create) ? "create" : "open", shown,
        remedy: errno == ELOOP ? "it is a symbolic link, which is not followed here" : nil)
    }
    return Descriptor(owning: number, path: shown)
  }

  /// Status of what is open, now.
  public func status() throws(FileError) -> FileStatus {
    var status = stat()
    guard fstat(number, &status) == 0 else { throw FileError("look at", path) }
    return FileStatus(status)
  }

  /// Status of `name` in this directory, not following a final symbolic link.
  public func status(of name: String) throws(FileError) -> FileStatus {
    try FileStatus.of(name, at: number, shown: "\(path)/\(name)")
  }

  /// Reads at most `limit` bytes from `offset`; fewer at the end of the file.
  public func read(limit: Int, from offset: Int64 = 0) throws(FileError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: limit)
    var outcome: Result<Int, FileError> = .success(0)
    bytes.withUnsafeMutableBytes { buffer in
      outcome = Result { () throws(FileError) in try readRaw(into: buffer, from: offset) }
    }
    bytes.removeLast(limit - (try outcome.get()))
    return bytes
  }

  /// One pread(2): of a plain file, fewer bytes than `limit` are all that there are.
  public func readOnce(limit: Int) throws(FileError) -> [UInt8] {
    var count = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: limit) { buffer, filled in
      repeat {
        count = pread(number, buffer.baseAddress, limit, 0)
      } while count < 0
        && errno == EINTR
      filled = max(count, 0)
    }
    if count < 0 { throw FileError("read", path) }
    return bytes
  }

  /// Reads the whole file, however its length changes meanwhile.
  /// - Throws: `EFBIG` when there is more than `limit` bytes.
  public func readAll(limit: Int) throws(FileError) -> [UInt8] {
    var bytes = try read(limit: min(limit + 1, max(Int(try status().size) + 1, 4096)))
    while true {
      if bytes.count > limit { throw FileError("read", path, code: EFBIG) }
      let more = try read(limit: min(65_536, limit + 1 - bytes.count), from: Int64(bytes.count))
      if more.isEmpty { return bytes }
      bytes += more
    }
  }

  /// Reads a file of /proc, whose size nobody knows before, in as few pieces as it gives.
  public func readStream(limit: Int) throws(FileError) -> [UInt8] {
    var bytes: [UInt8] = []
    while bytes.count < limit {
      let more = try read(limit: min(65_536, limit - bytes.count), from: Int64(bytes.count))
      bytes += more
      if more.count < 65_536 { break }
    }
    return bytes
  }

  /// pread(2) until the buffer is full or the file ends; returns bytes read.
  public func readRaw(into buffer: UnsafeMutableRawBufferPointer, from offset: Int64)
    throws(FileError) -> Int
  {
    var filled = 0
    while filled < buffer.count {
      let n = pread(
        number, buffer.baseAddress.map { $0 + filled }, buffer.count - filled,
        off_t(offset) + off_t(filled))
      if n < 0 {
        if errno == EINTR { continue }
        throw FileError("read", path)
      }
      if n == 0 { break }
      filled += n
    }
    return filled
  }

  /// Writes one byte at `offset`.
  public func write(byte: UInt8, at offset: Int64) throws(FileError) {
    var byte = byte
    while pwrite(number, &byte, 1, off_t(offset)) != 1 {
      if errno != EINTR { throw FileError("write", path) }
    }
  }

  /// Writes all bytes at `offset`.
  public func write(_ bytes: some Collection<UInt8>, at offset: Int64) throws(FileError) {
    let bytes = Array(bytes)
    var done = 0
    while done < bytes.count {
      let n = bytes.withUnsafeBytes { buffer in
        pwrite(
          number, buffer.baseAddress.map { $0 + done }, buffer.count - done,
          off_t(offset) + off_t(done))
      }
      if n < 0 {
        if errno == EINTR { continue }
        throw FileError("write", path)
      }
      done += n
    }
  }

  /// Forces data and metadata to the disk.
  public func sync() throws(FileError) {
    guard fsync(number) == 0 else { throw FileError("flush to disk", path) }
  }

  /// Forces everything unwritten of the filesystem that holds this file to the disk: for many new files far cheaper than ``sync()`` of each.
  public func syncFilesystem() throws(FileError) {
    guard clinux_syncfs(number) == 0 else { throw FileError("flush the filesystem of", path) }
  }

  /// Sets the permission bits, whatever the umask says.
  public func setPermissions(_ mode: UInt32) throws(FileError) {
    guard fchmod(number, mode) == 0 else { throw FileError("set the mode of", path) }
  }

  /// Gives it to another user and group; only root may.
  public func setOwner(uid: UInt32, gid: UInt32) throws(FileError) {
    guard fchown(number, uid, gid) == 0 else { throw FileError("set the owner of", path) }
  }

  /// Renames inside this directory, replacing `new`.
  public func rename(_ old: String, to new: String) throws(FileError) {
    guard renameat(number, old, number, new) == 0 else {
      throw FileError("rename to \(new)", "\(path)/\(old)")
    }
  }

  /// Lets two names of this directory change places at once.
  /// - Throws: `EINVAL` where the filesystem cannot do that.
  public func exchange(_ one: String, with other: String) throws(FileError) {
    guard clinux_exchange(number, one, other) == 0 else {
      throw FileError("exchange with \(other)", "\(path)/\(one)")
    }
  }

  /// Gives a file a name that none has.
  /// - Throws: `EEXIST` where one has it, `EINVAL` where the filesystem cannot tell.
  public func rename(_ old: String, toNew new: String) throws(FileError) {
    guard clinux_rename_new(number, old, new) == 0 else {
      throw FileError("rename to \(new)", "\(path)/\(old)")
    }
  }

  /// Removes a file of this directory.
  /// - Throws: also where there is none of that name.
  public func unlink(_ name: String) throws(FileError) {
    guard unlinkat(number, name, 0) == 0 else { throw FileError("remove", "\(path)/\(name)") }
  }
}
