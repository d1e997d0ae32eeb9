import Files
import Glibc
import Mail

/// A message file while it is open: read once, and only as far as somebody asks.
public final class OpenMessage {
  private static let step = 64 * 1024
  private static let longestHeader = 1 << 20
  private var file: Int32 = -1
  /// Where in the file it begins.
  private var start: Int64 = 0
  private var known: MessageHeader?
  /// The message's beginning, as far as it has been read.
  var buffer = ReadBuffer()
  private var piece = ReadBuffer(capacity: OpenMessage.step)
  public private(set) var size: Int64 = 0
  /// errno of a reading that failed: what was read is not the whole.
  public private(set) var failure: Int32?

  init() {}

  /// A quarantined copy, which must stay open as long as this is used.
  public init(_ copy: borrowing QuarantinedBody) throws(FileError) {
    size = try copy.file.status().size - copy.start
    start = copy.start
    file = copy.file.number
  }

  /// Turns to another message, of which `buffer` may already hold the beginning.
  func begin(_ file: Int32, size: Int64) {
    self.file = file
    self.size = size
    known = nil
    failure = nil
  }

  /// The header; of one longer than 1 MiB, the first 1 MiB. Read in steps, so that an ordinary message costs one reading.
  public var header: MessageHeader {
    if let known { return known }
    var searched = 0
    while !hasHeaderEnd(&searched), buffer.count < min(Int(size), Self.longestHeader) {
      let before = buffer.count
      extend(to: min(max(before * 2, Self.step), Self.longestHeader))
      if buffer.count == before { break }
    }
    let header = MessageHeader(buffer.filled.span)
    known = header
    return header
  }

  /// Calls `take` with the body in pieces until it returns false.
  public func forEachBodyPiece(_ take: (Span<UInt8>) -> Bool) {
    let body = header.bodyOffset ?? header.bytes.count
    if body < buffer.count, !take(buffer.filled.span.extracting(body...)) { return }
    var offset = Int64(buffer.count)
    while offset < size {
      guard piece.fill(from: file, limit: Self.step, offset: start + offset) else {
        failure = errno
        return
      }
      if piece.count == 0 || !take(piece.filled.span) { return }
      offset += Int64(piece.count)
    }
  }

  /// The message from its first byte, at most `limit` bytes of it.
  public func contents(limit: Int) -> [UInt8] {
    extend(to: limit)
    return buffer.filled.prefix(limit).map { $0 }
  }

  private func extend(to limit: Int) {
    if !buffer.extend(from: file, limit: limit, offset: start) { failure = errno }
  }

  /// Looks for an empty line from `searched` on, and moves it.
  private func hasHeaderEnd(_ searched: inout Int) -> Bool {
    let bytes = buffer.filled.span
    if searched == 0, bytes.count > 0, bytes[0] == UInt8(ascii: "\n") { return true }
    while let end = bytes.firstIndex(of: UInt8(ascii: "\n"), from: searched) {
      var next = end + 1
      if next < bytes.count, bytes[next] == UInt8(ascii: "\r") { next += 1 }
      if next >= bytes.count { return false }
      if bytes[next] == UInt8(ascii: "\n") { return true }
      searched = end + 1
    }
    searched = bytes.count
    return false
  }
}

/// What is read of each message: less is faster.
public struct EntryDetail: OptionSet, Sendable {
  public let rawValue: Int
  public init(rawValue: Int) { self.rawValue = rawValue }

  /// Recipients and what is done (`local`, `remote`; those of a message in todo are always there).
  public static let recipients = EntryDetail(rawValue: 1)
  /// Whether `bounce/ID` exists.
  public static let bouncing = EntryDetail(rawValue: 2)
  /// Size, source, list mark and raw subject; the message file is open while ``EntryLook/make`` runs.
  public static let message = EntryDetail(rawValue: 4)
  public static let all: EntryDetail = [.recipients, .bouncing, .message]
}

/// A look at messages: what to read of each, which ones are wanted, and what to make of them.
public struct EntryLook<Item: Sendable>: Sendable {
  public var detail: EntryDetail
  /// Asked before the message file is opened, with all but size, source, list mark and subject.
  public var isWanted: @Sendable (Entry) -> Bool
  /// nil leaves the message out. May be called again for a message that changed while it was read.
  public var make: @Sendable (Entry, OpenMessage?) -> Item?

  public init(
    _ detail: EntryDetail, isWanted: @escaping @Sendable (Entry) -> Bool = { _ in true },
    make: @escaping @Sendable (Entry, OpenMessage?) -> Item?
  ) {
    self.detail = detail
    self.isWanted = isWanted
    self.make = make
  }
}

/// A look as the reader takes it; belongs to one thread.
final class OpenLook {
  let detail: EntryDetail
  let isWanted: (Entry) -> Bool
  let examine: (Entry, OpenMessage?) -> Bool
  let message = OpenMessage()

  init(
    _ detail: EntryDetail, isWanted: @escaping (Entry) -> Bool,
    examine: @escaping (Entry, OpenMessage?) -> Bool
  ) {
    self.detail = detail
    self.isWanted = isWanted
    self.examine = examine
  }
}
