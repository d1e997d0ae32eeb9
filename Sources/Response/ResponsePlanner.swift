import Mail
import Policy
import Storms

/// Decides what is to be done about a storm. Pure: the same event, policy and context give the same plan; observe mode and replay
/// run this very code and then leave their hands in their pockets.
public enum ResponsePlanner {
  /// - Parameter entry: for a `joined` event, the message, so that protected mail can be told.
  public static func plan(
    _ event: StormEvent, policy: Policy, context: PlanningContext, entry: Entry? = nil
  ) -> [PlannedAction] {
    switch event {
    case .began(let storm), .changed(let storm):
      let blocks = blocks(for: storm, policy: policy, context: context)
      let alert = PlannedAction(
        incident: storm.incident, action: .alert, reason: storm.reason,
        advice: Advice.against(storm))
      return [alert] + blocks
    case .ended(let storm):
      return [PlannedAction(incident: storm.incident, action: .alert, reason: storm.reason)]
    case .joined(let incident, let identity):
      let held = QuarantineGuards.check(
        identity, entry: entry, incident: incident, policy: policy, context: context)
      return [
        PlannedAction(incident: incident, action: .quarantine(identity), decision: held ?? .perform)
      ]
    }
  }

  /// The blocks that this storm calls for as it stands now. Call it again while a storm goes on: evidence grows, caps free up.
  /// Entries that are blocked already are left out.
  public static func blocks(for storm: Storm, policy: Policy, context: PlanningContext)
    -> [PlannedAction]
  {
    // On suspicion nobody is kept out.
    guard storm.isCertain else { return [] }
    var planned: [PlannedAction] = []
    var begun = 0
    for offender in storm.offenders {
      guard let entry = BlockGuards.entry(for: offender), !context.standingBlocks.contains(entry)
      else { continue }
      var context = context
      context.blocksThisHour += begun
      let held = BlockGuards.check(entry, storm: storm, policy: policy, context: context)
      if held == nil { begun += 1 }
      planned.append(
        PlannedAction(
          incident: storm.incident,
          action: .block(
            entry, lasting: duration(of: entry, policy: policy.blocking, context: context)),
          decision: held ?? .perform, reason: storm.reason))
    }
    return planned
  }

  /// Repeats last longer, up to the longest.
  static func duration(of entry: Address, policy: Policy.Blocking, context: PlanningContext)
    -> Duration
  {
    var duration = policy.duration
    for _ in 0..<min(context.earlierBlocks[entry] ?? 0, 64) {
      if duration >= policy.longest { break }
      duration *= policy.repeatFactor
    }
    return min(duration, policy.longest)
  }
}
