import Mail

/// What one reading of a log found.
public struct LogReport: Sendable {
  /// Lines of qmail-send in the order they were written. Their time is the line's own stamp where it has one, never later than the
  /// reading and, unless the clock was set back, never earlier than the line before.
  public var observations: [Observation] = []
  /// What the administrator should know, a sentence each: lines missed, lines cut, the log gone.
  public var notes: [String] = []
  public var statistics = LogStatistics()
  /// There is more to read now: call again soon.
  public var hasMore = false

  public init() {}
}

/// What was read from a log, summed since it was opened or in one report.
public struct LogStatistics: Sendable, Hashable {
  /// Lines of qmail-send.
  public var lines = 0
  /// Lines of others in the same log.
  public var foreign = 0
  /// Lines longer than ``LogText/longestLine``; the rest of each was dropped.
  public var cut = 0
  /// Times that lines may have been missed.
  public var gaps = 0

  public init() {}

  public static func += (sum: inout LogStatistics, more: LogStatistics) {
    sum.lines += more.lines
    sum.foreign += more.foreign
    sum.cut += more.cut
    sum.gaps += more.gaps
  }
}
