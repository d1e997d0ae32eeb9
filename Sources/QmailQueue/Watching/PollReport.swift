import Mail

/// What one poll of a ``QueueWatcher`` found.
public struct PollReport: Sendable {
  /// In the order to be observed: the departure of a number before its new arrival.
  public var observations: [Observation] = []
  public var statistics = PollStatistics()
  /// What is in the queue and is no whole message, each told once.
  public var damaged: [Damage] = []
  /// Bytes that the arrivals take in memory, about.
  var weight = 0
  /// There is more to tell now: poll again at once.
  public var hasMore = false

  public struct Damage: Sendable, Hashable {
    public var id: UInt64
    public var why: String

    public init(id: UInt64, why: String) {
      self.id = id
      self.why = why
    }
  }

  public init() {}
}

/// The cost of one poll, for metrics and tests.
public struct PollStatistics: Sendable, Hashable {
  /// Messages seen for the first time, and messages found gone.
  public var new = 0
  public var gone = 0
  /// Messages that came and went before they could be read.
  public var missed = 0
  /// Messages opened to be read.
  public var opened = 0
  /// inotify events taken.
  public var events = 0
  /// Known messages gone over to find those whose name was not met.
  public var compared = 0
  /// Names of `info` and `todo` were walked.
  public var wasFullPass = false
  /// Wall time of the poll.
  public var seconds = 0.0

  public init() {}
}
