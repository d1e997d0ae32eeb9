import Ledger
import Mail
import QmailControl

/// What the hands did, left alone or failed at: for the watchdog's events and the commands' answers. Nothing is printed in this room.
public enum Outcome: Sendable, Hashable {
  /// In badmailfrom now.
  case blocked(Block)
  /// Out of badmailfrom now; `Block.removal` says why and by whom.
  case unblocked(Block)
  /// A line of ours was gone from badmailfrom: somebody took it out by hand. It stays out for the grace time.
  case removedByHand(Block)
  /// A line with our tag that the ledger does not know was taken out.
  case strayLineRemoved(OwnLine)
  /// A guard or observe mode held the hand.
  case held(PlannedAction, Guard, why: String)
  /// Copied and marked: qmail-send removes it at its next pass.
  case quarantined(QuarantineRecord)
  /// It has left the queue; the copy waits.
  case gone(QuarantineRecord)
  /// Not taken out of the queue after all; `note` says why.
  case abandoned(QuarantineRecord)
  /// Given back to qmail-queue.
  case released(QuarantineRecord, recipients: Int)
  /// Nothing proves that a cut-off release happened or did not: an administrator must decide.
  case releaseInDoubt(QuarantineRecord)
  /// The copy was deleted when its time had run out.
  case expired(QuarantineRecord)
  /// Not done. It is tried again where that can help.
  case failed(Failure)

  /// A piece of work that was not done, and why.
  public struct Failure: Error, Sendable, Hashable, CustomStringConvertible {
    /// What was to be done, for "cannot …": `block`, `write` (badmailfrom), `set aside`, `watch`, `release`, `recover` and the like.
    public var action: String
    /// The address or message.
    public var value: String
    /// One clear line with path and remedy.
    public var why: String
    /// For a command that ends with it.
    public var exitCode: Int32
    public var incident: Int?

    public init(
      _ action: String, _ value: String, why: String, exitCode: Int32, incident: Int? = nil
    ) {
      self.action = action
      self.value = value
      self.why = why
      self.exitCode = exitCode
      self.incident = incident
    }

    public var description: String { "cannot \(action) \(value): \(why)" }
  }
}

extension QuarantineRecord {
  /// Of one in the state ``State/releaseInDoubt``: what that means and what to type.
  public var doubt: String {
    "message \(identity.id): a release was cut off and may or may not have reached qmail; it stays in quarantine, and 'qwarden release \(identity.id) --in-doubt' sends it again"
  }
}

/// What one tick of the quarantine did and what is left.
public struct QuarantineProgress: Sendable, Hashable {
  public var outcomes: [Outcome] = []
  /// Messages chosen and not yet copied, or copied and not yet marked.
  public var waiting = 0
  /// Some are marked and still in the queue.
  public var someLeave = false
  /// Work was left undone only because the tick is bounded: tick again soon.
  public var hasMore = false

  public init() {}
}
