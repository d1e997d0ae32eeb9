import Mail

/// What does not work at the moment. Each kind is told when it begins and told again when it is over, however often it fails in between: a fault
/// that lasts for days has two lines in the log. Until then it is shown, in its latest words.
struct Troubles {
  enum Kind: String, CaseIterable {
    case queue, events, messages, ledger, blocking, quarantine, state, history, metrics, questions
    case journal

    /// What does not work, or not whole.
    var what: String {
      switch self {
      case .queue: "the queue cannot be watched"
      case .events: "not everything that happens in the queue is seen at once"
      case .messages: "messages cannot be read"
      case .ledger: "the ledger cannot be used"
      case .blocking: "badmailfrom cannot be written"
      case .quarantine: "messages cannot be set aside"
      case .state: "the state directory cannot be written"
      case .history: "no history is kept"
      case .metrics: "the metrics cannot be written"
      case .questions: "commands cannot ask this daemon anything"
      case .journal: "the journal cannot be written"
      }
    }

    /// What is said when it is over.
    var whatAgain: String {
      switch self {
      case .queue: "the queue can be read again"
      case .events: "everything that happens in the queue is seen at once again"
      case .messages: "all messages can be read again"
      case .ledger: "the ledger can be used again"
      case .blocking: "badmailfrom can be written again"
      case .quarantine: "messages can be set aside again"
      case .state: "the state directory can be written again"
      case .history: "the history is kept again"
      case .metrics: "the metrics can be written again"
      case .questions: "commands can ask this daemon again"
      case .journal: "the journal can be written again"
      }
    }
  }

  struct Trouble {
    var why: String
    var since: Timestamp
    /// Monotonic seconds since when it has not failed again; nil while it fails.
    var fineSince: Double?
  }

  private var known: [Kind: Trouble] = [:]

  /// - Returns: whether it is news.
  mutating func fails(_ kind: Kind, _ why: String, at now: Timestamp) -> Bool {
    if known[kind] != nil {
      known[kind]?.why = why
      known[kind]?.fineSince = nil
      return false
    }
    known[kind] = Trouble(why: why, since: now)
    return true
  }

  mutating func works(_ kind: Kind, at seconds: Double) {
    if known[kind] != nil, known[kind]?.fineSince == nil { known[kind]?.fineSince = seconds }
  }

  /// Those that have not failed again for `calm` seconds: they are over, and no longer known.
  mutating func ended(at seconds: Double, calm: Double) -> [Kind] {
    let over = Kind.allCases.filter { kind in
      known[kind]?.fineSince.map { seconds - $0 >= calm } ?? false
    }
    for kind in over { known[kind] = nil }
    return over
  }

  /// Why it fails just now; nil where it works.
  subscript(kind: Kind) -> String? { known[kind].flatMap { $0.fineSince == nil ? $0.why : nil } }

  /// For the status.
  var report: [StatusReport.Trouble] {
    Kind.allCases.compactMap { kind in
      guard let trouble = known[kind], trouble.fineSince == nil else { return nil }
      return StatusReport.Trouble(
        kind: kind.rawValue, what: kind.what, why: trouble.why, since: trouble.since.seconds)
    }
  }

  mutating func clockWasSet(by shift: Duration) {
    known = known.mapValues { trouble in
      var trouble = trouble
      trouble.since = trouble.since + shift
      return trouble
    }
  }
}
