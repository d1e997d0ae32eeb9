import Mail
import Policy
import Storms

/// What must hold before a message is set aside. Each guard is a function that returns why it holds the hand, or nil.
enum QuarantineGuards {
  struct Question {
    var entry: Entry?
    var incident: Int
    var policy: Policy
    var context: PlanningContext

    var storm: Storm? { context.storms[incident] }
  }

  typealias Check = @Sendable (Question) -> String?

  /// Observe mode is last, so that its sentence means: everything else would have let it pass.
  static let all: [(guard: Guard, check: Check)] = [
    (.switchedOff, switchedOff), (.kind, kind), (.protected, protected),
    (.messagesPerStorm, messagesPerStorm), (.shareOfQueue, shareOfQueue), (.freeSpace, freeSpace),
    (.freeInodes, freeInodes), (.observeMode, observeMode),
  ]

  static func check(
    _ identity: EntryIdentity, entry: Entry?, incident: Int, policy: Policy,
    context: PlanningContext
  ) -> PlannedAction.Decision? {
    let question = Question(entry: entry, incident: incident, policy: policy, context: context)
    for (name, check) in all {
      if let why = check(question) { return .hold(by: name, why: why) }
    }
    return nil
  }

  static let switchedOff: Check = { question in
    question.policy.quarantine.isEnabled
      ? nil : "The policy switches quarantine off (quarantine: enabled)."
  }

  static let kind: Check = { question in
    guard let storm = question.storm else {
      return "Nothing is known any more of incident \(question.incident)."
    }
    return question.policy.quarantine.kinds.contains(storm.kind)
      ? nil
      : "The policy does not let the mail of a \(storm.kind.rawValue) storm be set aside "
        + "(quarantine: kinds)."
  }

  static let protected: Check = { question in
    let protect = question.policy.protect
    if let entry = question.entry, let name = Protected.mail(entry, protect) {
      return "The message is \(name)'s, who is on the protect list."
    }
    for offender in question.storm?.offenders ?? [] {
      guard let name = Protected.origin(of: offender, protect) else { continue }
      return "The storm comes from \(name), which is on the protect list."
    }
    return nil
  }

  static let messagesPerStorm: Check = { question in
    let cap = question.policy.quarantine.perStorm
    guard question.context.quarantined[question.incident, default: 0] >= cap else { return nil }
    return "\(cap) messages of this storm \(been(question)) set aside, and that is the cap "
      + "(quarantine: per-storm): look at this storm yourself."
  }

  static let shareOfQueue: Check = { question in
    let share = question.policy.quarantine.shareOfQueue
    guard share < 1 else { return nil }
    // Those that left the queue by our doing count on both sides, else every retired message would tighten the cap.
    let chosen = question.context.quarantined[question.incident, default: 0]
    let gone = question.context.quarantinedGone[question.incident, default: 0]
    guard Double(chosen + 1) > share * Double(question.context.queueMessages + gone) else {
      return nil
    }
    return "\(chosen) of \(question.context.queueMessages + gone) messages \(been(question)) set "
      + "aside for this storm, and the cap is \(percent(share)) of the queue (quarantine: share-of-queue): "
      + "look at this storm yourself."
  }

  static let freeSpace: Check = { question in
    let floor = question.policy.quarantine.minimumFreeSpace
    guard question.context.freeSpace < floor else { return nil }
    return "Only \(percent(question.context.freeSpace)) of the state directory's disk is free, and "
      + "the floor is \(percent(floor)) (quarantine: minimum-free-space): free some."
  }

  static let freeInodes: Check = { question in
    let floor = question.policy.quarantine.minimumFreeInodes
    guard question.context.freeInodes < floor else { return nil }
    return "Only \(percent(question.context.freeInodes)) of the state directory's inodes are free, "
      + "and the floor is \(percent(floor)) (quarantine: minimum-free-inodes): free some."
  }

  static let observeMode: Check = { question in
    question.policy.mode == .enforce
      ? nil : "qwarden only observes (mode: observe); in enforce mode it would do this."
  }

  /// Who observes counts what would have been done.
  private static func been(_ question: Question) -> String {
    question.policy.mode == .enforce ? "have been" : "have or would have been"
  }

  private static func percent(_ share: Double) -> String {
    let tenths = Int((min(max(share, 0), 1) * 1000).rounded())
    return tenths % 10 == 0 ? "\(tenths / 10) %" : "\(tenths / 10).\(tenths % 10) %"
  }
}
