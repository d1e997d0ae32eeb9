/// A message in the queue is its number **and** its birth: numbers are inode numbers of `mess/…/ID` and qmail
/// reuses them at once, so the number alone may mean a stranger's message a moment later.
public struct EntryIdentity: Hashable, Sendable, Comparable {
  /// The queue number, the inode of `mess/…/ID`.
  public var id: UInt64
  /// mtime of `info/…/ID`: when qmail-send took the message in. For an entry still in todo, mtime of `todo/ID`.
  public var birth: Timestamp

  public init(id: UInt64, birth: Timestamp) {
    self.id = id
    self.birth = birth
  }

  public static func < (a: EntryIdentity, b: EntryIdentity) -> Bool {
    (a.birth, a.id) < (b.birth, b.id)
  }
}

/// qmail's two ways to deliver; each has a file of recipient records per message.
public enum Channel: String, Sendable, CaseIterable, Hashable {
  case local
  case remote
}

/// One recipient record of `local/…/ID` or `remote/…/ID`.
public struct Recipient: Hashable, Sendable {
  public var address: Address
  /// The record begins with `D`: delivered or failed for good.
  public var isDone: Bool

  public init(address: Address, isDone: Bool = false) {
    self.address = address
    self.isDone = isDone
  }
}

/// Everything the queue tells of one message.
public struct Entry: Hashable, Sendable {
  public var identity: EntryIdentity
  /// Bytes of `mess/…/ID`, qmail-queue's own Received line included.
  public var size: Int64
  public var sender: Address
  public var source: Source
  /// Process number of the qmail-queue that queued it (`qp` in qmail-send's log), from its Received line; nil when unreadable.
  public var queuedBy: Int?
  /// The header has List-Id or Mailing-List, or Precedence bulk or list.
  public var isList: Bool
  /// The raw Subject field, unfolded, undecoded, at most 998 bytes.
  public var subject: [UInt8]
  public var local: [Recipient]
  public var remote: [Recipient]
  /// Recipients of an entry still in todo: qmail-send has not yet sorted them into channels.
  public var unrouted: [Address]
  /// `bounce/ID` exists: at least one recipient has failed for good.
  public var isBouncing: Bool
  /// `todo/ID` exists: qmail-send has not finished preprocessing; local and remote mean nothing yet.
  public var isUnprocessed: Bool

  public init(
    identity: EntryIdentity, size: Int64 = 0, sender: Address = .null, source: Source = .unknown,
    queuedBy: Int? = nil, isList: Bool = false, subject: [UInt8] = [], local: [Recipient] = [],
    remote: [Recipient] = [],
    unrouted: [Address] = [], isBouncing: Bool = false, isUnprocessed: Bool = false
  ) {
    self.identity = identity
    self.size = size
    self.sender = sender
    self.source = source
    self.queuedBy = queuedBy
    self.isList = isList
    self.subject = subject
    self.local = local
    self.remote = remote
    self.unrouted = unrouted
    self.isBouncing = isBouncing
    self.isUnprocessed = isUnprocessed
  }

  /// All recipients whatever their channel or state.
  public var recipients: [Address] { local.map(\.address) + remote.map(\.address) + unrouted }
  /// Recipients that qmail would still try.
  public var pendingCount: Int {
    local.count { !$0.isDone } + remote.count { !$0.isDone } + unrouted.count
  }
  /// Taken in, and nobody left to try: it leaves at its next pass and is no backlog.
  public var isDoneOnly: Bool { !isUnprocessed && pendingCount == 0 }
}
