import CZlib
import Glibc

/// The lines of a file, of a gzip file, or of standard input, one at a time: memory holds the longest line and no more.
///
/// Whether it is compressed is seen by its first bytes, not by its name. A gzip file that was cut off gives what can be read of it.
public final class LineSource {
  /// No line of ours is longer; one that is ends the reading, so that no file fills the memory.
  public static let longestLine = 16 << 20

  /// For messages.
  public let path: String
  /// Number of the line given last, from 1.
  public private(set) var line = 0
  /// Why the end came too early; nil while all is well. What was read before is good.
  public private(set) var damage: String?

  private let file: gzFile
  private var buffer = [UInt8](repeating: 0, count: 1 << 17)
  /// What is read and not yet given.
  private var unread = 0..<0
  private var hasEnded = false

  /// - Parameter path: `-` is standard input.
  public init(_ path: String) throws(FileError) {
    let number: Int32
    if path == "-" {
      self.path = "standard input"
      number = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
    } else {
      self.path = path
      number = open(path, O_RDONLY | O_CLOEXEC)
    }
    guard number >= 0 else { throw FileError("open", self.path) }
    var status = stat()
    if fstat(number, &status) == 0, status.st_mode & S_IFMT == S_IFDIR {
      close(number)
      throw FileError("read", self.path, code: EISDIR)
    }
    guard let file = gzdopen(number, "r") else {
      close(number)
      throw FileError("read", self.path, code: ENOMEM)
    }
    gzbuffer(file, 1 << 16)
    self.file = file
  }

  deinit { gzclose(file) }

  /// Hands the next line, without its newline, to `body`; nil at the end.
  public func next<Result, Failure: Error>(
    _ body: (UnsafeBufferPointer<UInt8>) throws(Failure) -> Result
  ) throws(Failure) -> Result? {
    var searched = unread.lowerBound
    while true {
      if let end = newline(from: searched) {
        let range = unread.lowerBound..<end
        unread = (end + 1)..<unread.upperBound
        return try give(range, body)
      }
      searched = unread.upperBound - unread.lowerBound
      guard fill() else { break }
      searched += unread.lowerBound
    }
    // A file that was cut off ends in half a line.
    guard damage == nil, !unread.isEmpty else { return nil }
    let range = unread
    unread = unread.upperBound..<unread.upperBound
    return try give(range, body)
  }

  private func give<Result, Failure: Error>(
    _ range: Range<Int>, _ body: (UnsafeBufferPointer<UInt8>) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    line += 1
    return try buffer.withUnsafeBufferPointer { bytes throws(Failure) in
      try body(UnsafeBufferPointer(rebasing: bytes[range]))
    }
  }

  private func newline(from start: Int) -> Int? {
    buffer.withUnsafeBytes { bytes in
      guard start < unread.upperBound, let base = bytes.baseAddress,
        let found = memchr(base + start, 0x0A, unread.upperBound - start)
      else { return nil }
      return UnsafeRawPointer(found) - base
    }
  }

  /// Reads more behind what is unread. False at the end.
  private func fill() -> Bool {
    guard !hasEnded else { return false }
    if unread.lowerBound > 0 {
      buffer.withUnsafeMutableBytes { bytes in
        guard let base = bytes.baseAddress else { return }
        memmove(base, base + unread.lowerBound, unread.count)
      }
      unread = 0..<unread.count
    }
    if unread.count == buffer.count {
      guard buffer.count < Self.longestLine else {
        hasEnded = true
        damage = "line \(line + 1) is longer than \(Self.longestLine >> 20) MB"
        return false
      }
      buffer += [UInt8](repeating: 0, count: buffer.count)
    }
    let count = buffer.withUnsafeMutableBytes { bytes in
      bytes.baseAddress.map {
        gzread(file, $0 + unread.upperBound, UInt32(bytes.count - unread.upperBound))
      } ?? 0
    }
    if count > 0 {
      unread = unread.lowerBound..<(unread.upperBound + Int(count))
      return true
    }
    hasEnded = true
    var code: Int32 = Z_OK
    let text = gzerror(file, &code).map { String(cString: $0) } ?? ""
    switch code {
    case Z_OK, Z_STREAM_END: break
    case Z_BUF_ERROR: damage = "the gzip file is cut off; what was before line \(line + 1) is read"
    case Z_ERRNO: damage = "cannot read: \(String(cString: strerror(errno)))"
    default: damage = "the gzip file is damaged after line \(line) (\(text))"
    }
    return false
  }
}
