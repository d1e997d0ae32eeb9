import CSystemd
import Glibc

/// Writes entries to the systemd journal.
public enum Journal {
  /// syslog's severities, as journald stores them in `PRIORITY`.
  public enum Priority: Int, Sendable, Hashable {
    case emergency, alert, critical, error, warning, notice, info, debug
  }

  /// Bytes. A longer field value is cut here, and `truncationMark` put at its end: one entry cannot fill the journal.
  public static let valueLimit = 48 * 1024
  /// More fields than this are dropped: journald refuses entries of more than 1024.
  public static let fieldLimit = 128
  static let truncationMark = Array("[cut]".utf8)
  static let socket = "/run/systemd/journal/socket"

  /// Writes one entry; it is in journald's hands when this returns.
  ///
  /// `QWARDEN_EVENT` and `MESSAGE_ID` follow from `event`. A journald that stops reading blocks the caller, as it does
  /// with every service; the watchdog interval bounds that.
  /// - Parameter message: one line for people. Control characters become blanks: journalctl hides a message with any
  ///   of them behind "[… blob data]". Mail content in it must have been escaped for a terminal.
  /// - Throws: `noJournal` where nobody listens (libsystemd itself reports success and drops the entry [experiment,
  ///   systemd 252]), `failed` when sending fails.
  public static func send(
    _ event: MessageID, _ message: String, priority: Priority, _ fields: [JournalField] = []
  ) throws(JournalError) {
    guard access(socket, W_OK) == 0 else { throw .noJournal(socket: socket) }
    var lines = [
      line("MESSAGE", SingleLine.make(message)),
      line("MESSAGE_ID", Array(event.id.utf8)),
      line("PRIORITY", Array(String(priority.rawValue).utf8)),
      line("SYSLOG_IDENTIFIER", Array("qwarden".utf8)),
      line("QWARDEN_EVENT", Array(event.rawValue.utf8)),
    ]
    lines += fields.prefix(fieldLimit).map { line($0.name.rawValue, $0.value) }

    let lengths = lines.map(\.count)
    var flat = Array(lines.joined())
    let result = flat.withUnsafeMutableBytes { buffer in
      var at = 0
      let vectors = lengths.map { length in
        defer { at += length }
        return iovec(iov_base: buffer.baseAddress.map { $0 + at }, iov_len: length)
      }
      return sd_journal_sendv(vectors, Int32(vectors.count))
    }
    if result < 0 { throw .failed(code: -result) }
  }

  /// Whether standard error is a stream to the journal, so that lines printed there would appear twice beside entries
  /// sent: `JOURNAL_STREAM` holds the device and inode of the stream that systemd made (systemd.exec(5)).
  public static var holdsStandardError: Bool {
    isStream(STDERR_FILENO, getenv("JOURNAL_STREAM").map { String(cString: $0) })
  }

  static func isStream(_ descriptor: Int32, _ stream: String?) -> Bool {
    var status = stat()
    guard let stream, fstat(descriptor, &status) == 0 else { return false }
    return stream == "\(status.st_dev):\(status.st_ino)"
  }

  private static func line(_ name: String, _ value: [UInt8]) -> [UInt8] {
    let kept =
      value.count <= valueLimit
      ? value[...] : value.prefix(valueLimit - truncationMark.count) + truncationMark
    return Array("\(name)=".utf8) + kept
  }
}

/// Text that stays one line in every sink.
enum SingleLine {
  /// Control characters (line ends, NUL, escapes) become blanks.
  static func make(_ text: String) -> [UInt8] {
    text.utf8.map { $0 < 0x20 || $0 == 0x7F ? UInt8(ascii: " ") : $0 }
  }
}
