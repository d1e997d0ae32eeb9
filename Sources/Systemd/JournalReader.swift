import CSystemd
import Glibc

/// Reads entries of other services from the systemd journal, oldest first, and waits for new ones.
///
/// Its descriptor serves a Dispatch read source; after each wake ``acknowledge()`` must be called. Rotation and vacuuming by journald are
/// followed by libsystemd. Used from one actor only.
public final class JournalReader {
  /// Whose entries.
  public enum Selection: Hashable, Sendable {
    /// What the processes of a unit print or log, such as `qmail-send.service`.
    case unit(String)
    /// What is logged under a syslog tag, whoever did it.
    case identifier(String)

    var match: String {
      switch self {
      case .unit(let name): "_SYSTEMD_UNIT=\(name)"
      case .identifier(let name): "SYSLOG_IDENTIFIER=\(name)"
      }
    }
  }

  public struct Entry: Hashable, Sendable {
    /// When journald received it: microseconds since 1970 UTC.
    public var microseconds: UInt64
    /// `MESSAGE`, any bytes; at most ``JournalReader/messageLimit`` of them.
    public var message: [UInt8]
  }

  /// Why the journal cannot be read.
  public enum Failure: Error, Sendable, Hashable, CustomStringConvertible {
    /// A call of libsystemd failed; an `errno` value.
    case failed(call: String, code: Int32)
    /// No journal file is there, or none may be read.
    case noFiles

    public var description: String {
      switch self {
      case .failed(let call, let code):
        "the journal cannot be read (\(call)): \(String(cString: strerror(code)))"
      case .noFiles:
        "no journal can be read here: journald does not run, or this user is not in group systemd-journal"
      }
    }
  }

  /// Bytes.
  public static let messageLimit = 32 * 1024

  /// Readable when the journal changed; the same number for life.
  public let descriptor: Int32
  private let journal: OpaquePointer
  /// The entry stood at has not been handed out.
  private var standsAtNew = false

  /// Opens this machine's journal and stands at its end: only what comes later is read, unless one of the seeks is called.
  public init(_ selection: Selection) throws(Failure) {
    var opened: OpaquePointer?
    let flags = Int32(SD_JOURNAL_LOCAL_ONLY | SD_JOURNAL_SYSTEM)
    let code = sd_journal_open(&opened, flags)
    guard code >= 0, let opened else { throw .failed(call: "sd_journal_open", code: -code) }
    do throws(Failure) {
      // libsystemd reports success when there is nothing or nothing may be read.
      guard sd_journal_has_runtime_files(opened) > 0 || sd_journal_has_persistent_files(opened) > 0
      else { throw .noFiles }
      try Self.check("sd_journal_add_match", sd_journal_add_match(opened, selection.match, 0))
      // Else long values are unpacked whole.
      try Self.check(
        "sd_journal_set_data_threshold",
        sd_journal_set_data_threshold(opened, Self.messageLimit + 64))
      descriptor = try Self.check("sd_journal_get_fd", sd_journal_get_fd(opened))
      journal = opened
      try seekToEnd()
    } catch {
      sd_journal_close(opened)
      throw error
    }
  }

  deinit { sd_journal_close(journal) }

  /// Takes note of what made ``descriptor`` readable.
  public func acknowledge() { _ = sd_journal_process(journal) }

  /// The next entry is the first that comes from now on.
  public func seekToEnd() throws(Failure) {
    standsAtNew = false
    try Self.check("sd_journal_seek_tail", sd_journal_seek_tail(journal))
    // Without an entry to stand at, everything that matches later is new.
    if try Self.check("sd_journal_previous", sd_journal_previous(journal)) == 0 {
      try Self.check("sd_journal_seek_head", sd_journal_seek_head(journal))
    }
  }

  /// The last entries there are, oldest first; reading stands at the end afterwards.
  public func recent(atMost count: Int) throws(Failure) -> [Entry] {
    standsAtNew = false
    try Self.check("sd_journal_seek_tail", sd_journal_seek_tail(journal))
    var found: [Entry] = []
    if try Self.check(
      "sd_journal_previous_skip", sd_journal_previous_skip(journal, UInt64(count))) > 0
    {
      standsAtNew = true
      while found.count < count, let entry = try next() { found.append(entry) }
    }
    try seekToEnd()
    return found
  }

  /// The next entry is the first received at this time or later.
  public func seek(microseconds: UInt64) throws(Failure) {
    standsAtNew = false
    try Self.check(
      "sd_journal_seek_realtime_usec", sd_journal_seek_realtime_usec(journal, microseconds))
  }

  /// The next entry is the one after this cursor's.
  /// - Returns: false when that entry is not there any more: then it is the first after where it was.
  public func seek(after cursor: String) throws(Failure) -> Bool {
    standsAtNew = false
    guard sd_journal_seek_cursor(journal, cursor) >= 0 else {
      try seekToEnd()
      return false
    }
    // A cursor leads to the entry that is nearest.
    guard try Self.check("sd_journal_next", sd_journal_next(journal)) > 0 else {
      try seekToEnd()
      return false
    }
    if sd_journal_test_cursor(journal, cursor) > 0 { return true }
    standsAtNew = true
    return false
  }

  /// - Returns: nil when there is none at present.
  public func next() throws(Failure) -> Entry? {
    if standsAtNew {
      standsAtNew = false
    } else if try Self.check("sd_journal_next", sd_journal_next(journal)) == 0 {
      return nil
    }
    var microseconds: UInt64 = 0
    try Self.check(
      "sd_journal_get_realtime_usec", sd_journal_get_realtime_usec(journal, &microseconds))
    return Entry(microseconds: microseconds, message: message())
  }

  /// The place of the entry handed out last, for ``seek(after:)``; nil when there was none.
  public var cursor: String? {
    var text: UnsafeMutablePointer<CChar>?
    guard sd_journal_get_cursor(journal, &text) >= 0, let text else { return nil }
    defer { free(text) }
    return String(cString: text)
  }

  /// An entry without MESSAGE, or one damaged on disk, is an empty one.
  private func message() -> [UInt8] {
    var data: UnsafeRawPointer?
    var length = 0
    guard sd_journal_get_data(journal, "MESSAGE", &data, &length) >= 0, let data else { return [] }
    let bytes = UnsafeRawBufferPointer(start: data, count: length)
    return Array(bytes.dropFirst("MESSAGE=".utf8.count).prefix(Self.messageLimit))
  }

  @discardableResult
  private static func check(_ call: String, _ code: Int32) throws(Failure) -> Int32 {
    guard code >= 0 else { throw .failed(call: call, code: -code) }
    return code
  }
}
