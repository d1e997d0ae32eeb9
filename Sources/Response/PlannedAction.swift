import Mail

/// One thing that the planner wants done, or would want done if nothing held its hand.
public struct PlannedAction: Sendable, Hashable {
  /// What is to be done.
  public enum Action: Sendable, Hashable {
    /// Tell the administrator. Always performed.
    case alert
    /// A line in badmailfrom: `user@host`, or `@host` for a whole domain.
    case block(Address, lasting: Duration)
    /// Set this message aside.
    case quarantine(EntryIdentity)

    /// The `action` of the JSON contract.
    public var name: String {
      switch self {
      case .alert: "alert"
      case .block: "block"
      case .quarantine: "quarantine"
      }
    }
  }

  /// Whether it is, and if not, why not.
  public enum Decision: Sendable, Hashable {
    case perform
    /// A full sentence that tells the administrator why, and what to do where something can be done.
    case hold(by: Guard, why: String)

    public var isHeld: Bool { self != .perform }
  }

  public var incident: Int
  public var action: Action
  public var decision: Decision
  /// For an alert and a block: the storm's sentence.
  public var reason: String
  /// With an alert: what would help where badmailfrom does not.
  public var advice: [Advice]

  public init(
    incident: Int, action: Action, decision: Decision = .perform, reason: String = "",
    advice: [Advice] = []
  ) {
    self.incident = incident
    self.action = action
    self.decision = decision
    self.reason = reason
    self.advice = advice
  }
}
