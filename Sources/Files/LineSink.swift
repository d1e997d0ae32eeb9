import CZlib
import Glibc

/// Writes a new file, plain or gzipped, in pieces that can be read however the process ends.
public final class LineSink {
  public let path: String
  private var file: gzFile?
  private let number: Int32
  /// Something was written and not flushed.
  public private(set) var isDirty = false

  /// - Parameter path: `-` is standard output.
  /// - Throws: also when there is such a file: what was recorded is not overwritten.
  public init(creating path: String, compressed: Bool, mode: mode_t = 0o600) throws(FileError) {
    if path == "-" {
      self.path = "standard output"
      number = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)
    } else {
      self.path = path
      number = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode)
    }
    guard number >= 0 else {
      throw FileError(
        "create", self.path,
        remedy: errno == EEXIST ? "it is there already: name another, or remove it" : nil)
    }
    // Level 1: half the size of level 6 is not worth four times the work in a daemon.
    guard let file = gzdopen(number, compressed ? "wb1" : "wbT") else {
      Glibc.close(number)
      throw FileError("create", self.path, code: ENOMEM)
    }
    self.file = file
    // zlib keeps about 256 kB for a file it writes, and a buffer of its own before that.
    gzbuffer(file, 1 << 14)
  }

  deinit { if let file { gzclose(file) } }

  /// After a failure the file is no longer written to: make another.
  public func write(_ bytes: [UInt8]) throws(FileError) {
    guard let file else { throw FileError("write", path, code: EBADF) }
    guard !bytes.isEmpty else { return }
    isDirty = true
    let count = bytes.withUnsafeBytes { gzwrite(file, $0.baseAddress, UInt32($0.count)) }
    guard count == bytes.count else { throw failure(file) }
  }

  /// Hands all that was written to the kernel: a kill loses nothing of it.
  public func flush() throws(FileError) {
    guard let file, isDirty else { return }
    isDirty = false
    guard gzflush(file, Z_SYNC_FLUSH) == Z_OK else { throw failure(file) }
  }

  /// Bytes in the file, as far as they are flushed.
  public var size: Int64 {
    var status = stat()
    return fstat(number, &status) == 0 ? Int64(status.st_size) : 0
  }

  /// Ends the file in good order.
  public func close() throws(FileError) {
    guard let file else { return }
    self.file = nil
    let code = gzclose(file)
    guard code == Z_OK else {
      throw FileError("write", path, code: code == Z_ERRNO ? errno : EIO)
    }
  }

  private func failure(_ file: gzFile) -> FileError {
    let why = errno
    var code: Int32 = Z_OK
    gzerror(file, &code)
    return FileError("write", path, code: code == Z_ERRNO ? why : EIO)
  }
}
