import Files
import Ledger
import Mail
import Policy
import QmailControl
import QmailQueue
import Storms

/// The only hands. Performs what the planner decided, write-ahead: every intent is in the ledger before a file is touched, so that
/// a process killed at any point is finished or reported by the next one.
///
/// Owned by one actor or one command; synchronous; every call is told the time. Each call takes ``HandsLock`` for its piece of work;
/// when another process keeps the lock, the intents stand and a later tick carries them out.
public final class Responder {
  /// Where things are.
  public struct Places: Sendable, Hashable {
    /// qmail's home, usually `/var/qmail`.
    public var qmail: String
    /// The state directory, usually `/var/lib/qwarden`.
    public var state: String

    public init(qmail: String, state: String) {
      self.qmail = qmail
      self.state = state
    }

    /// The ledger's file.
    public var ledger: String { "\(state)/ledger.sqlite" }
  }

  public let places: Places
  public let ledger: Ledger
  /// May be replaced on reload.
  public var policy: Policy
  public var control: ControlSnapshot
  public var dialect: BadmailfromDialect?
  /// How long a call waits for the hands of another process.
  public var patience = Duration.seconds(1)

  let layout: QueueLayout

  /// - Parameter dialect: what the policy sets, or else what ``BadmailfromDialect/detect(qmail:)`` found.
  public init(
    places: Places, layout: QueueLayout, ledger: Ledger, policy: Policy, control: ControlSnapshot,
    dialect: BadmailfromDialect?
  ) {
    self.places = places
    self.layout = layout
    self.ledger = ledger
    self.policy = policy
    self.control = control
    self.dialect = dialect
  }

  /// At start: finishes or reports whatever a killed process left half done.
  public func recover(at now: Timestamp) -> [Outcome] { [] }

  /// Writes down the plan's intents and carries out what can be done at once (blocks). Messages are set aside by ``quarantineTick(at:)``.
  /// Actions that are held come back as outcomes once for each storm, guard and value.
  public func perform(_ actions: [PlannedAction], at now: Timestamp) -> [Outcome] { [] }

  /// Expires due blocks and makes badmailfrom what the ledger says. Cheap when nothing is due and the file is unchanged: call it at
  /// every poll.
  public func tendBlocks(at now: Timestamp) -> [Outcome] { [] }

  /// An administrator's block. The guards that protect from mistakes hold here too, and say so as a failure (exit 65); caps,
  /// kinds and observe mode do not.
  public func block(
    _ entry: Address, lasting: Duration, reason: String, by author: String, at now: Timestamp
  ) -> [Outcome] { [] }

  /// An administrator's unblock: remembered for the policy's grace time. Not blocked by us: no outcome.
  public func unblock(_ entry: Address, by author: String, at now: Timestamp) -> [Outcome] { [] }

  /// A bounded piece of work on the quarantine (at most 256 messages copied and marked, 1024 watched): copies, marks, watches, sweeps
  /// bounces. Call it at every poll, and again soon while ``QuarantineProgress/hasMore``.
  public func quarantineTick(at now: Timestamp) -> QuarantineProgress { QuarantineProgress() }

  /// Deletes copies whose time has run out; at most 256 a call.
  public func expireQuarantine(at now: Timestamp) -> [Outcome] { [] }

  /// Gives a quarantined message back through qmail-queue, with its own envelope: the recipients that we marked.
  /// - Parameter inDoubt: also to recipients that a delivery in flight may have reached, and also a message whose earlier release was
  ///   cut off: they may get it twice.
  public func release(_ record: QuarantineRecord, inDoubt: Bool, at now: Timestamp) -> [Outcome] {
    []
  }

  /// What the planner needs to know of the ledger and the disk.
  public func context(at now: Timestamp, storms: [Storm], queueMessages: Int)
    throws(LedgerError) -> PlanningContext
  {
    PlanningContext(now: now, control: control, dialect: dialect)
  }
}
