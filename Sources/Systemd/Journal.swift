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
  private static let outlet = Datagram.Socket()
  /// Where an entry does not fit in a datagram its values are cut to this: all of it then does.
  private static let shortLimit = 1024

  /// Writes one entry; it is in journald's hands when this returns. Never waits: `sd_journal_sendv` does where journald does not read.
  ///
  /// `QWARDEN_EVENT` and `MESSAGE_ID` follow from `event`.
  /// - Parameter message: one line for people. Control characters become blanks: journalctl hides a message with any
  ///   of them behind "[… blob data]". Mail content in it must have been escaped for a terminal.
  /// - Throws: `noJournal` where nobody listens, `failed` when sending fails: `EAGAIN` where journald does not read.
  public static func send(
    _ event: MessageID, _ message: String, priority: Priority, _ fields: [JournalField] = []
  ) throws(JournalError) {
    let fixed: [(String, [UInt8])] = [
      ("MESSAGE", SingleLine.make(message)), ("MESSAGE_ID", Array(event.id.utf8)),
      ("PRIORITY", Array(String(priority.rawValue).utf8)),
      ("SYSLOG_IDENTIFIER", Array("qwarden".utf8)), ("QWARDEN_EVENT", Array(event.rawValue.utf8)),
    ]
    let all = fixed + fields.prefix(fieldLimit).map { ($0.name.rawValue, $0.value) }
    var code = outlet.send(entry(all, limit: valueLimit), to: socket)
    if code == EMSGSIZE { code = outlet.send(entry(all, limit: shortLimit), to: socket) }
    switch code {
    case 0: return
    case ENOENT, ECONNREFUSED: throw .noJournal(socket: socket)
    default: throw .failed(code: code)
    }
  }

  /// Whether standard error is a stream to the journal, so that lines printed there would appear twice beside entries
  /// sent: `JOURNAL_STREAM` holds the device and inode of the stream that systemd made (systemd.exec(5)).
  public static var holdsStandardError: Bool {
    isStream(STDERR_FILENO, getenv("JOURNAL_STREAM").map { String(cString: $0) })
  }

  /// Writes a line to the stream that ``holdsStandardError`` speaks of, without waiting for its reader.
  /// - Returns: whether it took it.
  public static func writeToStandardError(_ line: String) -> Bool {
    let bytes = Array(line.utf8)
    return Glibc.send(STDERR_FILENO, bytes, bytes.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL)) > 0
  }

  static func isStream(_ descriptor: Int32, _ stream: String?) -> Bool {
    var status = stat()
    guard let stream, fstat(descriptor, &status) == 0 else { return false }
    return stream == "\(status.st_dev):\(status.st_ino)"
  }

  /// The journal's native protocol: a name, and its value's length before the value, so that a newline in it is only content.
  private static func entry(_ fields: [(name: String, value: [UInt8])], limit: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    for (name, value) in fields {
      let kept =
        value.count <= limit
        ? value[...] : value.prefix(limit - truncationMark.count) + truncationMark
      bytes += Array(name.utf8) + [0x0A]
      withUnsafeBytes(of: UInt64(kept.count).littleEndian) { bytes += $0 }
      bytes += kept
      bytes.append(0x0A)
    }
    return bytes
  }
}

/// Text that stays one line in every sink.
enum SingleLine {
  /// Control characters (line ends, NUL, escapes) become blanks.
  static func make(_ text: String) -> [UInt8] {
    text.utf8.map { $0 < 0x20 || $0 == 0x7F ? UInt8(ascii: " ") : $0 }
  }
}
