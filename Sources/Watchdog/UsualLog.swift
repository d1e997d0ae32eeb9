import Mail
import QmailQueue
import Systemd

/// Finds qmail-send's log in the places where it usually is.
enum UsualLog {
  enum Place: Hashable {
    case file(String)
    case journal(JournalReader.Selection)

    var source: String {
      switch self {
      case .file(let path): path
      case .journal(let selection): JournalFollower.name(selection)
      }
    }
  }

  /// multilog directories of Life with qmail, of qmailrocks and indimail, of a plain supervise tree; then syslog's files.
  static let files = [
    "/var/log/qmail/send", "/var/log/qmail/qmail-send", "/var/log/qmail-send",
    "/service/qmail-send/log/main", "/service/qmail/log/main",
    "/var/qmail/supervise/qmail-send/log/main", "/var/log/svc/qmail-send.25", "/var/log/qmail",
    "/var/log/mail.log", "/var/log/maillog",
  ]
  static let units = ["qmail-send.service", "qmail.service", "notqmail.service"]

  /// The place where qmail-send wrote last; of those that agree within a minute the one followed before, else the first.
  /// - Parameter oldest: a log not written to since then is of the past.
  static func find(
    tag: String, preferring before: String?, since oldest: Timestamp, among files: [String] = files
  ) -> Place? {
    var found: [(place: Place, last: Timestamp)] = files.compactMap { path in
      LogFollower.lastLine(of: path, tag: tag).map { (.file(path), $0) }
    }
    for selection in units.map(JournalReader.Selection.unit) + [.identifier(tag)] {
      if let last = lastLine(selection, tag) { found.append((.journal(selection), last)) }
    }
    guard let newest = found.map(\.last).max(), newest >= oldest else { return nil }
    let current = found.filter { $0.last > newest - .seconds(60) || $0.last == newest }
    return (current.first { $0.place.source == before } ?? current.first)?.place
  }

  private static func lastLine(_ selection: JournalReader.Selection, _ tag: String) -> Timestamp? {
    guard let reader = try? JournalReader(selection), let entries = try? reader.recent(atMost: 200)
    else { return nil }
    var text = LogText(tag: tag)
    for entry in entries {
      let written = Timestamp(nanoseconds: Int64(clamping: entry.microseconds) &* 1000)
      text.take(entry.message[...], written: written, at: written)
    }
    return text.collect().statistics.lines > 0 ? text.last : nil
  }
}
