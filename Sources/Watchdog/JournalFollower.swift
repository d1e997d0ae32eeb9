import Mail
import QmailQueue
import Systemd

/// Follows qmail-send's log in the journal.
final class JournalFollower {
  /// Entries taken in one reading.
  private static let most = 10_000
  /// A splogger piece that may go on is given out after this long.
  private static let patience = Duration.seconds(2)

  let source: String
  let reader: JournalReader
  private var text: LogText
  private var heldSince: Timestamp?
  private var cursor: String?
  private let begun: Timestamp
  private var notes: [String] = []
  private var gaps = 0
  private var toldTrouble: String?

  /// - Parameters: as those of `LogFollower`.
  init(
    _ selection: JournalReader.Selection, tag: String, resuming saved: LogPosition?,
    oldest: Timestamp, at now: Timestamp
  ) throws(JournalReader.Failure) {
    source = Self.name(selection)
    begun = now
    text = LogText(tag: tag)
    reader = try JournalReader(selection)
    guard let saved, saved.source == source, case .cursor(let cursor) = saved.mark else {
      cursor = reader.cursor
      return
    }
    text.last = saved.last
    self.cursor = cursor
    if saved.last < oldest {
      gap(
        "qwarden did not run for long: the log since \(saved.last.iso8601) is read from an hour ago on"
      )
      try reader.seek(microseconds: UInt64(max(0, oldest.nanoseconds / 1000)))
    } else if try !reader.seek(after: cursor) {
      gap(
        "the journal was cleared while qwarden did not run: lines after \(saved.last.iso8601) may be missing"
      )
    }
  }

  static func name(_ selection: JournalReader.Selection) -> String {
    switch selection {
    case .unit(let unit): "journal of \(unit)"
    case .identifier(let tag): "journal of tag \(tag)"
    }
  }

  /// Where to resume after a restart; nil when nothing was read yet.
  var position: LogPosition? {
    cursor.map { LogPosition(source: source, mark: .cursor($0), last: max(text.last, begun)) }
  }

  /// Takes in what came since the last call.
  func read(at now: Timestamp) -> LogReport {
    reader.acknowledge()
    var taken = 0
    do {
      while taken < Self.most, let entry = try reader.next() {
        taken += 1
        let written = Timestamp(nanoseconds: Int64(clamping: entry.microseconds) &* 1000)
        for line in entry.message.split(separator: UInt8(ascii: "\n")) {
          text.take(line, written: written, at: now)
        }
      }
      toldTrouble = nil
    } catch {
      if toldTrouble != error.description {
        toldTrouble = error.description
        notes.append("qmail-send's log cannot be read: \(error)")
      }
    }
    if !text.isHolding {
      heldSince = nil
    } else if let since = heldSince, since <= now {
      if now > since + Self.patience { text.flush(at: now) }
    } else {
      heldSince = now
    }
    // While a piece waits, the place before it is kept.
    if taken > 0, !text.isHolding { cursor = reader.cursor ?? cursor }
    var report = text.collect()
    report.notes = notes
    report.statistics.gaps = gaps
    report.hasMore = taken >= Self.most
    notes = []
    gaps = 0
    return report
  }

  private func gap(_ note: String) {
    gaps += 1
    notes.append(note)
  }
}
