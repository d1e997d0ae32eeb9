import Mail
import Policy
import QmailControl
import Storms

/// What must hold before a line of ours goes into badmailfrom. Each guard is a function that returns why it holds the hand, or nil.
enum BlockGuards {
  /// One question that a guard answers.
  struct Question {
    /// `user@host` or `@host`, lower case.
    var entry: Address
    var storm: Storm
    var policy: Policy
    var context: PlanningContext

    var isWholeDomain: Bool { entry.bytes.first == UInt8(ascii: "@") }
    /// virtualdomains may name a single address of a foreign domain.
    var isLocal: Bool { context.control.isLocal(entry.domain) || context.control.isLocal(entry) }
  }

  typealias Check = @Sendable (Question) -> String?

  /// In the order in which they are asked: what can never be comes first, then what the policy says, then what is so only today.
  /// Observe mode is last, so that its sentence means: everything else would have let it pass.
  static let all: [(guard: Guard, check: Check)] = [
    (.nullSender, nullSender), (.grammar, grammar), (.localDomain, localDomain),
    (.roleAddress, roleAddress), (.protected, protected), (.victim, victim),
    (.wholeDomain, wholeDomain), (.kind, kind), (.manySenders, manySenders),
    (.listSender, listSender), (.localSender, localSender), (.switchedOff, switchedOff),
    (.grace, grace), (.dialect, dialect), (.blocksPerHour, blocksPerHour),
    (.observeMode, observeMode),
  ]

  /// What a line for this offender would say; nil where badmailfrom has no word for it.
  static func entry(for offender: Offender) -> Address? {
    switch offender {
    case .sender(let address): address.lowercased
    case .senderDomain(let domain): Address("@\(domain.text)")
    case .client, .user, .uid: nil
    }
  }

  static func check(_ entry: Address, storm: Storm, policy: Policy, context: PlanningContext)
    -> PlannedAction.Decision?
  {
    let question = Question(entry: entry, storm: storm, policy: policy, context: context)
    for (name, check) in all {
      if let why = check(question) { return .hold(by: name, why: why + help(name, question)) }
    }
    return nil
  }

  /// For what badmailfrom cannot stop: the levers that can, in the same breath.
  private static func help(_ name: Guard, _ question: Question) -> String {
    switch name {
    case .nullSender, .grammar, .kind, .manySenders, .victim, .localDomain, .wholeDomain:
      Advice.against(question.storm).map { advice in
        " " + advice.sentence + (advice.line.map { " (\($0))" } ?? "")
      }.joined()
    default: ""
    }
  }

  static let nullSender: Check = { question in
    guard question.entry.isBounceSender || question.entry == Address("@") else { return nil }
    return "The sender '\(question.entry)' is that of bounces, and badmailfrom cannot list it."
  }

  static let grammar: Check = { question in
    do {
      // Without a known dialect the strict common grammar is asked; the guard `dialect` holds later.
      _ = try (question.context.dialect ?? .stock).entry(for: question.entry)
      return nil
    } catch {
      return "\(error)."
    }
  }

  static let localDomain: Check = { question in
    guard question.isWholeDomain, question.isLocal else { return nil }
    return "\(question.entry.domain) is a domain of this server, and is never blocked as a whole."
  }

  static let wholeDomain: Check = { question in
    guard question.isWholeDomain, !question.policy.blocking.wholeDomains else { return nil }
    return "The policy does not let whole domains be blocked (blocking: whole-domains), "
      + "so \(question.entry) is not listed."
  }

  static let roleAddress: Check = { question in
    let local = Text.decode(question.entry.localPart)
    guard question.isLocal, ["postmaster", "abuse", "mailer-daemon"].contains(local) else {
      return nil
    }
    return "\(question.entry) is a role address of this server, and is never blocked."
  }

  static let protected: Check = { question in
    let protect = question.policy.protect
    if let name = Protected.sender(question.entry, protect) {
      return "\(question.entry) is on the protect list (\(name))."
    }
    for offender in question.storm.offenders {
      guard let name = Protected.origin(of: offender, protect) else { continue }
      return "The storm comes from \(name), which is on the protect list."
    }
    return nil
  }

  static let victim: Check = { question in
    let names = [Text.decode(question.entry.bytes), question.entry.domain.text]
    guard question.storm.victims.contains(where: { names.contains($0.asciiLowercased) }) else {
      return nil
    }
    return "\(question.entry) is a victim of this storm, not its cause: its name is forged."
  }

  static let kind: Check = { question in
    guard !question.policy.blocking.kinds.contains(question.storm.kind) else { return nil }
    return question.storm.kind == .localScript
      ? "badmailfrom does not apply to mail that a local program puts into the queue."
      : "The policy does not let a \(question.storm.kind.rawValue) storm be answered with a block "
        + "(blocking: kinds)."
  }

  static let manySenders: Check = { question in
    guard question.storm.kind == .bounceOut else { return nil }
    let senders = question.storm.offenders.count { offender in
      if case .sender = offender { true } else { false }
    }
    guard senders > 1 else { return nil }
    return "The bounced mail bears \(senders) senders, so they are forged, and listing them would "
      + "block their owners."
  }

  static let listSender: Check = { question in
    if question.entry.verpStem != nil {
      return "\(question.entry) is a list's address made for one recipient (VERP)."
    }
    let evidence = question.storm.evidence
    guard evidence.listMarked * 2 > evidence.messages, !evidence.failuresProven else { return nil }
    return "\(evidence.listMarked) of \(evidence.messages) messages bear the marks of a mailing "
      + "list, and failures do not prove otherwise."
  }

  static let localSender: Check = { question in
    guard question.isLocal, !question.isWholeDomain else { return nil }
    if question.storm.kind != .relaySender {
      return "\(question.entry) is an address of this server, and only a relay-sender storm speaks "
        + "against such a one."
    }
    if !question.policy.blocking.localSenders {
      return "The policy does not let addresses of this server be blocked "
        + "(blocking: local-senders)."
    }
    if question.storm.evidence.failuresProven || isStrong(question.storm.evidence) { return nil }
    return "\(question.entry) is an address of this server, and its failures "
      + "(\(question.storm.evidence.failed) of \(question.storm.evidence.recipients) recipients) "
      + "do not prove yet that it is misused."
  }

  /// Short of proof: at least five failed for good and these are 30 % of what is finished, and half of all recipients failed or
  /// linger. Of ordinary mail 10–20 % fails; an outage defers without failing.
  private static func isStrong(_ evidence: Evidence) -> Bool {
    evidence.failed >= 5
      && evidence.failed * 10 >= (evidence.failed + evidence.delivered) * 3
      && (evidence.failed + evidence.lingering) * 2 >= evidence.recipients
  }

  static let switchedOff: Check = { question in
    question.policy.blocking.isEnabled
      ? nil : "The policy switches blocking off (blocking: enabled)."
  }

  static let grace: Check = { question in
    guard let until = question.context.graces[question.entry], until > question.context.now else {
      return nil
    }
    return "An administrator unblocked \(question.entry), so it is left alone until "
      + "\(until.iso8601)."
  }

  static let dialect: Check = { question in
    question.context.dialect != nil
      ? nil
      : "How this server's qmail-smtpd reads badmailfrom is not known, so the file is not edited: "
        + "set blocking: dialect in the policy."
  }

  static let blocksPerHour: Check = { question in
    let cap = question.policy.blocking.perHour
    guard question.context.blocksThisHour >= cap else { return nil }
    return "\(question.context.blocksThisHour) blocks were made in the last hour, and the cap is "
      + "\(cap) (blocking: per-hour): look at this storm yourself."
  }

  static let observeMode: Check = { question in
    question.policy.mode == .enforce
      ? nil : "qwarden only observes (mode: observe); in enforce mode it would do this."
  }
}

extension String {
  fileprivate var asciiLowercased: String {
    Text.decode(utf8.map { $0.asciiLowercased })
  }
}
