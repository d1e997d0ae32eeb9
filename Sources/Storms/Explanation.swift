import Mail

/// Whom or what `qwarden explain` asks about.
public enum Subject: Sendable, Hashable {
  case offender(Offender)
  case message(UInt64)

  /// `alice@example.com`, `@example.com`, `192.0.2.7`, `alice`, `uid:33`, `1410837`. Where that could mean two things, `sender:`, `domain:`,
  /// `client:`, `user:` or `id:` before it says which. nil for nothing.
  public init?(_ text: String) {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    let (word, rest) = (parts.count == 2 ? String(parts[0]) : "", parts.last.map(String.init) ?? "")
    guard !rest.isEmpty else { return nil }
    switch word {
    case "uid":
      guard let uid = UInt32(rest) else { return nil }
      self = .offender(.uid(uid))
    case "id":
      guard let id = UInt64(rest) else { return nil }
      self = .message(id)
    case "user": self = .offender(.user(rest))
    case "client": self = .offender(.client(rest))
    case "sender": self = .offender(.sender(Address(rest).lowercased))
    case "domain": self = .offender(.senderDomain(Domain(rest)))
    default:
      if let id = UInt64(text) {
        self = .message(id)
      } else if text.hasPrefix("@") {
        self = .offender(.senderDomain(Domain(String(text.dropFirst()))))
      } else if text.contains("@") {
        self = .offender(.sender(Address(text).lowercased))
      } else if !text.contains("/"), ClientRange(text) != nil {
        self = .offender(.client(text))
      } else {
        self = .offender(.user(text))
      }
    }
  }
}

/// How somebody, or a message and those who answer for it, stands with the detector.
public struct Explanation: Sendable {
  /// A threshold on the way to a storm, and how far it is.
  public struct Step: Sendable, Hashable {
    /// `floor`, `normal`, `failures`, `deferrals`, `volume`, `notices` or `bounces`.
    public var name: String
    public var isReached: Bool
    /// The figures, and what they are held against.
    public var text: String
  }

  /// A sender, user, client, uid or sender domain.
  public struct Standing: Sendable {
    public var offender: Offender
    /// Counts of the window.
    public var evidence: Evidence
    /// Usual messages a window; nil while none is learned.
    public var normal: Double?
    public var steps: [Step]
    /// What it is a storm for, in a word; nil while it is none.
    public var verdict: String?
    /// The storm that it would be, or is: for the planner.
    public var storm: Storm
  }

  /// A message that the detector remembers.
  public struct Message: Sendable {
    public var identity: EntryIdentity
    public var sender: Address
    public var client: String?
    public var user: String?
    public var uid: UInt32?
    /// `outbound`, `inbound`, `notice`, …: what it can be evidence of.
    public var traffic: String
    public var recipients: Int
    public var failed: Int
    public var delivered: Int
    public var waiting: Int
    public var isListMarked: Bool
    public var isGone: Bool
    /// qwarden took it out itself, so it is no evidence.
    public var isDisregarded: Bool
    public var incident: Int?
  }

  public var subject: Subject
  public var time: Timestamp
  public var window: Duration
  public var message: Message?
  /// Those that are known, narrowest first.
  public var standings: [Standing] = []
  /// What counts for mail of strangers as a whole, where the message is such.
  public var strangers: [Step] = []
  /// Storms that go on and that it belongs to.
  public var storms: [Storm] = []

  /// Nothing is known of it: no mail within memory.
  public var isUnknown: Bool { message == nil && standings.isEmpty && storms.isEmpty }
}

extension StormDetector {
  /// How it stands now. Changes nothing.
  public func explanation(of subject: Subject) -> Explanation {
    var found = Explanation(subject: subject, time: now, window: settings.window)
    switch subject {
    case .offender(let offender):
      if let standing = standing(of: offender) { found.standings = [standing] }
      found.storms = storms.filter { $0.offenders.contains(offender) }
    case .message(let id):
      let serial =
        mail.current(id) ?? mail.logged(id) ?? mail.serials.last { mail[$0].identity.id == id }
      guard let serial else { break }
      let message = mail[serial]
      found.message = Explanation.Message(message)
      found.standings = message.facts.offenders(localDomains).compactMap { standing(of: $0) }
      found.strangers = strangers(message)
      found.storms = storms.filter { $0.incident == message.incident }
    }
    return found
  }

  private func standing(of offender: Offender) -> Explanation.Standing? {
    guard var group = groups.group(offender) else { return nil }
    group.window.advance(to: now)
    var storm = Storm(
      incident: 0, kind: kind([offender]), began: now - settings.window, lastSeen: now,
      offenders: [offender])
    group.count(in: &storm.evidence)
    storm.evidence.listMarked = Int(group.window.sum.listMarked)
    storm.evidence.failuresProven = group.test.isProven
    let verdict = group.verdict(
      settings, seenShare: seenShare(offender), isWide: offender.isWide, isOutage: now < outageEnds)
    return Explanation.Standing(
      offender: offender, evidence: storm.evidence, normal: group.normal.normal,
      steps: group.steps(settings), verdict: verdict.map { "\($0)" },
      storm: storms.first { $0.offenders.contains(offender) } ?? storm)
  }

  /// Failure notices and our own bounces are judged together, whoever sent them.
  private func strangers(_ message: TrackedMessage) -> [Explanation.Step] {
    let window = "in \(Int(settings.window.inSeconds)) s"
    switch message.facts.traffic {
    case .notice where message.isUnsolicited, .noticeBounced:
      var notices = notices
      notices.advance(to: now)
      return [
        Explanation.Step(
          name: "notices", isReached: notices.isStorm(settings, seesAll: seesAll),
          text:
            "\(notices.count) failure notices that nobody asked for \(window), of \(settings.messages); \(max(0, notices.window.sum.failed)) failed; \(notices.test.text)"
        )
      ]
    case .bounceOut where message.isUnsolicited:
      var bounces = bouncesOut
      bounces.advance(to: now)
      return [
        Explanation.Step(
          name: "bounces", isReached: bounces.isStorm(settings),
          text:
            "\(bounces.window.sum.messages) bounces to strangers \(window), of \(settings.messages); \(bounces.test.text)"
        )
      ]
    default: return []
    }
  }
}

extension Group {
  /// The thresholds, in the order in which they are asked.
  fileprivate func steps(_ settings: DetectorSettings) -> [Explanation.Step] {
    let sum = window.sum
    let (messages, recipients) = (Int(sum.messages), Int(sum.recipients))
    let failed = Int(max(0, sum.failed))
    let finished = failed + Int(max(0, sum.delivered))
    let usual: String
    if let known = normal.normal, let limit = normal.limit {
      usual =
        "\(messages) messages, usual are \(known.tenths(short: true)); over \(max(settings.timesNormal * known, limit).tenths(short: true)) are many"
    } else {
      usual = "none learned yet, so the floor alone counts"
    }
    return [
      Explanation.Step(
        name: "floor",
        isReached: messages >= settings.messages || recipients >= settings.recipients,
        text:
          "\(messages) of \(settings.messages) messages, \(recipients) of \(settings.recipients) recipients in \(Int(settings.window.inSeconds)) s"
      ),
      Explanation.Step(
        name: "normal",
        isReached: normal.normal.map { Double(messages) >= settings.timesNormal * $0 } ?? true,
        text: usual),
      Explanation.Step(
        name: "failures", isReached: test.isProven,
        text:
          "\(failed) of \(finished) finished recipients failed; \(test.text)"),
      Explanation.Step(
        name: "deferrals",
        isReached: Int(sum.stuck) >= settings.deferredRecipients
          && badDomains.distinct >= settings.deferredDomains && badDomains.topShare <= 0.5,
        text:
          "\(max(0, sum.stuck)) of \(settings.deferredRecipients) recipients wait for long, in \(badDomains.distinct) of \(settings.deferredDomains) domains; one domain's share is \(Int(badDomains.topShare * 100)) %, and over 50 % it is that domain's trouble"
      ),
      Explanation.Step(
        name: "volume", isReached: messages >= settings.acceptedMessages,
        text:
          "\(messages) of \(settings.acceptedMessages) messages, should all be accepted; \(domains.distinct) recipient domains"
      ),
      Explanation.Step(
        name: "marks", isReached: sum.listMarked * 2 < max(1, sum.messages),
        text: "\(sum.listMarked) of \(messages) messages bear the marks of a mailing list"),
    ]
  }
}

extension SequentialTest {
  /// Where it stands, and what would decide it.
  fileprivate var text: String {
    if isProven {
      return "proven: the test stands at \(ratio.tenths()), proof is \(bound.tenths())"
    }
    let missing = Int(((bound - ratio) / perFailure).rounded(.up))
    return
      "the test stands at \(ratio.tenths()) of \(bound.tenths()): \(missing) more failures without a success would prove it"
  }
}

extension Explanation.Message {
  fileprivate init(_ message: TrackedMessage) {
    identity = message.identity
    sender = message.facts.sender
    client = message.facts.client
    user = message.facts.user
    uid = message.facts.uid
    traffic = "\(message.facts.traffic)"
    recipients = message.facts.recipients
    failed = message.failed
    delivered = message.delivered
    waiting = message.lingering
    isListMarked = message.facts.isListMarked
    isGone = message.isGone
    isDisregarded = message.isDisregarded
    incident = message.incident
  }
}
