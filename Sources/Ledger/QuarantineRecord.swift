import Mail

/// A message that was, is or is to be set aside.
public struct QuarantineRecord: Sendable, Hashable, Identifiable {
  /// Write-ahead states: what is committed here is true of the disk, or is made true at the next start.
  public enum State: String, Sendable, Hashable, CaseIterable {
    /// Chosen; nothing has been touched.
    case intended
    /// A complete copy is on the disk. Marks may have begun: the copy's envelope says which recipients are ours.
    case copied
    /// Every pending recipient is marked; qmail-send removes it at its next pass.
    case marked
    /// Out of the queue; the copy waits for release or expiry.
    case gone
    /// Handed to a qmail-queue whose pid is known; whether that took it is not.
    case releasing
    /// A release was cut off and nothing proves that it happened or did not: an administrator decides.
    case releaseInDoubt = "release-in-doubt"
    /// Its copy is to be deleted.
    case expiring
    /// Back in the queue; copy deleted.
    case released
    /// Copy deleted unreleased.
    case expired
    /// Never taken out of the queue; the copy, if any, deleted.
    case abandoned

    public var isFinal: Bool { self == .released || self == .expired || self == .abandoned }
  }

  /// Number of the row; names the message in the ledger for good (queue numbers come again).
  public var id: Int64
  public var identity: EntryIdentity
  public var incident: Int?
  public var state: State
  public var facts: Facts
  public var intended: Timestamp
  public var copied: Timestamp?
  public var marked: Timestamp?
  public var gone: Timestamp?
  /// When it reached a final state.
  public var closed: Timestamp?
  /// When its copy may be deleted.
  public var expires: Timestamp
  /// Why it was abandoned, expired or is in doubt; who ordered it, for one taken out by hand.
  public var note: String?
  public var release: Release?
  /// Recipients given back so far.
  public var released: Int

  /// What is known of the message once it was read; empty before.
  public struct Facts: Sendable, Hashable {
    public var sender = Address.null
    /// Bytes of the message file.
    public var size: Int64 = 0
    /// Recipients that were pending when it was copied.
    public var recipients = 0
    /// Those of them that a delivery in flight may have reached.
    public var inDoubt = 0
    public var subject: [UInt8] = []
    public var source = SourceSummary()

    public init() {}

    public init(_ entry: Entry) {
      sender = entry.sender
      size = entry.size
      recipients = entry.pendingCount
      subject = entry.subject
      source = SourceSummary(entry.source)
    }
  }

  /// The latest release.
  public struct Release: Sendable, Hashable {
    /// Of the qmail-queue that was given the message: in its first Received line.
    public var pid: Int32
    public var started: Timestamp
    /// Whether recipients in doubt were given too.
    public var includedInDoubt: Bool
  }

  /// Deleted rather than set aside: the copy is needed only until the marks are safely on the disk, and is removed then.
  public var keepsNothing: Bool { expires <= intended }

  /// Marked, and not yet removed by qmail-send. A message may be released while its old entry still departs.
  public var isDeparting: Bool { marked != nil && gone == nil }
}

/// Where a message came from, in columns. For a bounce of ours: the original's client, user or uid.
public struct SourceSummary: Sendable, Hashable {
  public var via = "unknown"
  public var client: String?
  public var user: String?
  public var uid: UInt32?

  public init() {}

  public init(_ source: Source) {
    via = source.via
    var origin = source
    if case .bounce(let original) = source { origin = original?.source ?? .unknown }
    switch origin {
    case .network(let client, _, let user):
      self.client = client
      self.user = user
    case .uid(let uid): self.uid = uid
    case .alias, .bounce, .unknown: break
    }
  }
}
