import Files
import Mail

/// How far a log has been read: kept over a restart, in a small file of its own.
public struct LogPosition: Hashable, Sendable {
  /// What is followed, as the administrator would name it: a path, or the journal's unit.
  public var source: String
  /// Where in it.
  public var mark: Mark
  /// The time of the last line read.
  public var last: Timestamp

  public enum Mark: Hashable, Sendable {
    case file(FileMark)
    /// A cursor of the journal (sd_journal_get_cursor(3)).
    case cursor(String)
  }

  /// A place in a file, known again by what stands before it: inode numbers change hands, and rotation by copying changes them.
  public struct FileMark: Hashable, Sendable {
    public var inode: UInt64
    public var offset: Int64
    /// FNV-1a of the `length` bytes before `offset`.
    public var hash: UInt64
    public var length: Int

    init(inode: UInt64, offset: Int64, tail: [UInt8]) {
      self.inode = inode
      self.offset = offset
      hash = Self.hash(tail)
      length = tail.count
    }

    init(inode: UInt64, offset: Int64, hash: UInt64, length: Int) {
      self.inode = inode
      self.offset = offset
      self.hash = hash
      self.length = length
    }

    static func hash(_ bytes: [UInt8]) -> UInt64 {
      bytes.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    }
  }

  public init(source: String, mark: Mark, last: Timestamp) {
    self.source = source
    self.mark = mark
    self.last = last
  }

  static let heading = "qwarden-log 1"

  /// - Returns: nil when there is none, or what is there is none: then a log is followed from its end.
  public static func read(_ path: String) -> LogPosition? {
    guard let bytes = try? Descriptor.open(path).readAll(limit: 64 << 10) else { return nil }
    let lines = String(decoding: bytes, as: UTF8.self).split(
      separator: "\n", omittingEmptySubsequences: false)
    guard lines.count == 5, lines[0] == heading, lines[4].isEmpty, let last = Int64(lines[2]),
      last >= 0
    else { return nil }
    let words = lines[3].split(separator: " ")
    let mark: Mark
    if words.count == 2, words[0] == "cursor" {
      mark = .cursor(String(words[1]))
    } else if words.count == 5, words[0] == "file", let inode = UInt64(words[1]),
      let offset = Int64(words[2]), let length = Int(words[3]), let hash = UInt64(words[4]),
      offset >= 0, length >= 0, length <= LogFollower.tailLength, Int64(length) <= offset
    {
      mark = .file(FileMark(inode: inode, offset: offset, hash: hash, length: length))
    } else {
      return nil
    }
    return LogPosition(
      source: String(lines[1]), mark: mark, last: Timestamp(nanoseconds: last))
  }

  /// Replaces the file; not flushed to the disk: after a crash of the machine a gap is better than a wait at every save.
  public func write(_ path: String) throws(FileError) {
    let place =
      switch mark {
      case .cursor(let cursor): "cursor \(cursor)"
      case .file(let file): "file \(file.inode) \(file.offset) \(file.length) \(file.hash)"
      }
    let text = "\(Self.heading)\n\(source)\n\(last.nanoseconds)\n\(place)\n"
    try Replacement.write(Array(text.utf8), to: path, mode: 0o600, durable: false)
  }
}
