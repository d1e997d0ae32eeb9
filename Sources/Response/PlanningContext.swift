import Mail
import QmailControl
import Storms

/// What the planner must know beyond storm and policy. A value, so that replay, observe mode and the daemon decide alike.
public struct PlanningContext: Sendable {
  public var now: Timestamp
  /// This server's own names.
  public var control: ControlSnapshot
  /// How this server reads badmailfrom; nil: unknown, so it is not edited.
  public var dialect: BadmailfromDialect?
  /// Storms that go on, by incident: a `joined` event names its storm by number only.
  public var storms: [Int: Storm] = [:]
  /// Entries in badmailfrom by us, or about to be; lower case.
  public var standingBlocks: Set<Address> = []
  /// Blocks that storms caused in the last hour.
  public var blocksThisHour = 0
  /// How often an entry was blocked before and ran its time.
  public var earlierBlocks: [Address: Int] = [:]
  /// Entries that an administrator unblocked, and until when they are left alone.
  public var graces: [Address: Timestamp] = [:]
  /// Messages of each incident already chosen for quarantine, whatever became of them.
  public var quarantined: [Int: Int] = [:]
  /// Of those, the ones that have left the queue.
  public var quarantinedGone: [Int: Int] = [:]
  /// Messages in the queue.
  public var queueMessages = 0
  /// Free share of the state directory's filesystem, 0…1, and of its inodes.
  public var freeSpace = 1.0
  public var freeInodes = 1.0

  public init(now: Timestamp, control: ControlSnapshot, dialect: BadmailfromDialect?) {
    self.now = now
    self.control = control
    self.dialect = dialect
  }
}
