/// One thing that was seen to happen. The same values come from a live queue, a recorded trace or the simulator.
public struct Observation: Hashable, Sendable {
  /// When it was seen (not when it happened: an entry has its own birth).
  public var time: Timestamp
  public var event: Event

  public init(time: Timestamp, event: Event) {
    self.time = time
    self.event = event
  }

  public enum Event: Hashable, Sendable {
    /// A message seen for the first time, whole or still in todo. An arrival under a number already known means that
    /// the earlier message of that number is gone.
    case arrival(Entry)
    /// A message that arrived while in todo has been taken in by qmail-send: now it has its lasting identity.
    case processed(EntryIdentity)
    /// Some recipients are finished, or the first one failed.
    case progress(Progress)
    /// The message of this number is gone.
    case departure(id: UInt64)
    case counts(QueueCounts)
    case health(QueueHealth)
    /// A line of qmail-send's log.
    case log(SendLogLine)
    /// qwarden itself, or an administrator by it, takes this message out: what becomes of it is no evidence.
    case takenOut(EntryIdentity)
  }

  /// How far a message has come.
  public struct Progress: Hashable, Sendable {
    public var id: UInt64
    /// Recipients finished so far, delivered or failed for good.
    public var doneLocal: Int
    public var doneRemote: Int
    /// `bounce/ID` exists.
    public var isBouncing: Bool
    /// Recipients reported in `bounce/ID`, when it was read; nil when only its existence is known.
    public var failed: Int?

    public init(id: UInt64, doneLocal: Int, doneRemote: Int, isBouncing: Bool, failed: Int? = nil) {
      self.id = id
      self.doneLocal = doneLocal
      self.doneRemote = doneRemote
      self.isBouncing = isBouncing
      self.failed = failed
    }
  }
}

/// What stands in the queue. `messages` and `unprocessed` are counted as qmail-qstat counts: files under `mess`, files in `todo`.
public struct QueueCounts: Hashable, Sendable {
  public var messages: Int
  public var unprocessed: Int
  /// Entries with a file in `local`, `remote`, `bounce`; nil where they were not counted.
  public var local: Int?
  public var remote: Int?
  public var bouncing: Int?
  /// Entries with no recipient left to try: retired or finished, leaving at their next pass.
  public var doneOnly: Int?

  public init(
    messages: Int, unprocessed: Int, local: Int? = nil, remote: Int? = nil, bouncing: Int? = nil,
    doneOnly: Int? = nil
  ) {
    self.messages = messages
    self.unprocessed = unprocessed
    self.local = local
    self.remote = remote
    self.bouncing = bouncing
    self.doneOnly = doneOnly
  }
}

/// What keeps a queue from moving.
public struct QueueHealth: Hashable, Sendable {
  /// qmail-send holds `lock/sendmutex`; nil when that could not be told.
  public var senderIsRunning: Bool?
  /// Share of the queue's filesystem still free, 0…1, and of its inodes (1 where the filesystem has none to count).
  public var freeSpace: Double
  public var freeInodes: Double

  public init(senderIsRunning: Bool?, freeSpace: Double, freeInodes: Double) {
    self.senderIsRunning = senderIsRunning
    self.freeSpace = freeSpace
    self.freeInodes = freeInodes
  }
}
