import Mail

/// Lines of a log, as they stand in it, into observations: stamps and syslog's headings taken off, splogger's pieces joined, what is not
/// qmail-send's left out. No files, no clock; any bytes will do.
public struct LogText: Sendable {
  /// Bytes; a longer line is cut. qmail-send keeps 10,000 bytes of a delivery report (REPORTMAX in qmail-send.c).
  public static let longestLine = 16 * 1024
  /// splogger breaks a line after this many bytes: its buffer of 800 less one (splogger.c).
  static let pieceLength = 799

  /// The name under which splogger writes, for a log shared with others: `qmail`, in `Nov 23 17:41:03 mx qmail: …`.
  private let tag: [UInt8]
  /// A whole piece of splogger's that may go on in the next line.
  private var held: (time: Timestamp, text: [UInt8])?
  /// The time of the last observation: they go back only with the clock.
  public var last = Timestamp(nanoseconds: .min)
  /// What has been taken since ``collect()``.
  private var report = LogReport()

  public init(tag: String) { self.tag = Array(tag.utf8) }

  /// Lines are dropped until one is stamped later than this; nil: none are. For what was read before, and for what is too old.
  public var oldest: Timestamp?

  /// Counts the pieces that had to wait.
  private(set) var holds = 0

  /// A piece waits to see whether it goes on.
  public var isHolding: Bool { held != nil }

  /// Takes one line without its line end.
  /// - Parameters:
  ///   - written: when the line was written, if the log says it beside the line (a journal); else nil.
  ///   - now: the time of reading, which no line is later than.
  public mutating func take(_ line: ArraySlice<UInt8>, written: Timestamp? = nil, at now: Timestamp)
  {
    var line = line
    if line.count > Self.longestLine {
      line = line.prefix(Self.longestLine)
      report.statistics.cut += 1
    }
    if line.last == UInt8(ascii: "\r") { line.removeLast() }
    var found = LogStamp.tai64n(line) ?? LogStamp.seconds(line)
    if found == nil, let rest = Self.afterHeading(line, tag) {
      line = rest
      found = LogStamp.seconds(line) ?? LogStamp.tai64n(line)
    }
    guard let found else {
      if Self.isOfQmailSend(line) { flush(at: now) }
      tell(Array(line), written, now)
      return
    }
    let text = line[found.text...]
    if found.isContinuation {
      guard let begun = held, begun.time == found.time else {
        // Its beginning was not read.
        report.statistics.cut += 1
        return
      }
      held = nil
      let joined = begun.text + text
      if text.count >= Self.pieceLength, joined.count < Self.longestLine {
        held = (found.time, joined)
      } else {
        tell(joined, found.time, now)
      }
      return
    }
    flush(at: now)
    if text.count == Self.pieceLength {
      held = (found.time, Array(text))
      holds += 1
    } else {
      tell(Array(text), found.time, now)
    }
  }

  /// Gives out the piece that waits: nothing more will come for it.
  public mutating func flush(at now: Timestamp) {
    guard let begun = held else { return }
    held = nil
    tell(begun.text, begun.time, now)
  }

  /// Hands over what has been taken.
  public mutating func collect() -> LogReport {
    defer { report = LogReport() }
    return report
  }

  private mutating func tell(_ text: [UInt8], _ time: Timestamp?, _ now: Timestamp) {
    guard Self.isOfQmailSend(text[...]) else {
      report.statistics.foreign += 1
      return
    }
    if let known = oldest {
      guard let time, time > known else { return }
      oldest = nil
    }
    report.statistics.lines += 1
    // Later than now only where the clock was set back since: then what comes would bear that time until the clock is there again.
    last = min(max(last, time ?? now), now)
    report.observations.append(Observation(time: last, event: .log(SendLogLine(bytes: text))))
  }

  /// What follows ` TAG: ` or ` TAG[123]: ` near the beginning of a syslog line.
  private static func afterHeading(_ line: ArraySlice<UInt8>, _ tag: [UInt8]) -> ArraySlice<UInt8>?
  {
    guard !tag.isEmpty else { return nil }
    // A heading is a date, a host name of at most 255 bytes and the tag.
    var at = line.startIndex
    let limit = min(line.endIndex, at + 320)
    while at < limit {
      guard line[at...].starts(with: tag) else {
        guard let blank = line[at..<limit].firstIndex(of: UInt8(ascii: " ")) else { return nil }
        at = blank + 1
        continue
      }
      var end = at + tag.count
      if end < line.endIndex, line[end] == UInt8(ascii: "[") {
        end += 1
        while end < line.endIndex, (48...57).contains(line[end]) { end += 1 }
        if end < line.endIndex, line[end] == UInt8(ascii: "]") { end += 1 }
      }
      if end + 1 < line.endIndex, line[end] == UInt8(ascii: ":"),
        line[end + 1] == UInt8(ascii: " ")
      {
        return line[(end + 2)...]
      }
      guard let blank = line[at..<limit].firstIndex(of: UInt8(ascii: " ")) else { return nil }
      at = blank + 1
    }
    return nil
  }

  /// Whether a text is qmail-send's: other programs may share its logger.
  private static func isOfQmailSend(_ line: ArraySlice<UInt8>) -> Bool {
    beginnings.contains { line.starts(with: $0) }
  }

  private static let beginnings: [[UInt8]] = [
    "new msg ", "info msg ", "end msg ", "bounce msg ", "triple bounce: ", "starting delivery ",
    "delivery ", "status: ", "warning: ", "alert: ",
  ].map { Array($0.utf8) }
}
