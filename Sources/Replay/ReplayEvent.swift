import Mail
import Response
import Storms

/// What the daemon would have said or done at a moment of a trace.
public struct ReplayEvent: Sendable, Hashable {
  public enum What: Sendable, Hashable {
    case began(Storm)
    case changed(Storm)
    case ended(Storm)
    case action(PlannedAction)
  }

  public var time: Timestamp
  public var what: What

  /// The line of the JSON contract.
  public var json: JSONLine {
    var line = JSONLine()
    line.add("t", time.seconds)
    switch what {
    case .began(let storm): Self.add("storm-began", storm, to: &line)
    case .changed(let storm): Self.add("storm-changed", storm, to: &line)
    case .ended(let storm): Self.add("storm-ended", storm, to: &line)
    case .action(let action):
      line.add("event", "action")
      line.add("incident", action.incident)
      line.add("action", action.action.name)
      switch action.action {
      case .alert: break
      case .block(let entry, _): line.add("value", bytes: entry.bytes)
      case .quarantine(let identity):
        line.add("id", identity.id)
        line.add("birth", identity.birth.seconds)
      }
      line.add("done", !action.decision.isHeld)
      line.add("why", action.why)
    }
    return line
  }

  private static func add(_ event: String, _ storm: Storm, to line: inout JSONLine) {
    line.add("event", event)
    line.add("incident", storm.incident)
    line.add("kind", storm.kind.rawValue)
    line.add("offenders", storm.offenders.map(\.json))
    line.add("victims", storm.victims)
    line.add("reason", storm.reason)
  }
}

extension PlannedAction {
  /// Why it is done, or which guard holds it and why.
  public var why: String {
    switch decision {
    case .hold(_, let why): why
    case .perform: reason.isEmpty ? "The message belongs to storm \(incident)." : reason
    }
  }
}
