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
/// when another process keeps the lock, the intents stand and a later tick carries them out. What is done, held or failed comes back
/// as ``Outcome``; the same failure is told once until it changes.
public final class Responder {
  /// Where things are.
  public struct Places: Sendable, Hashable {
    /// qmail's home, usually `/var/qmail`.
    public var qmail: String
    /// The state directory, usually `/var/lib/qwarden`.
    public var state: String
    /// The socket of the one who writes badmailfrom where we may not.
    public var scribe = BadmailfromScribe.usualSocket

    public init(qmail: String, state: String) {
      self.qmail = qmail
      self.state = state
    }

    /// The ledger's file.
    public var ledger: String { "\(state)/ledger.sqlite" }
    /// The quarantine's directory.
    public var quarantine: String { "\(state)/quarantine" }
  }

  public let places: Places
  public let ledger: Ledger
  public let layout: QueueLayout
  /// May be replaced on reload.
  public var policy: Policy { didSet { rest = nil } }
  public var control: ControlSnapshot { didSet { rest = nil } }
  /// How this server reads badmailfrom: what the policy sets, or else what was detected; nil: unknown, so it is not edited.
  public var dialect: BadmailfromDialect? { didSet { rest = nil } }
  /// How long a call waits for the hands of another process, which has them for a second or two at a time.
  public var patience = Duration.seconds(10)
  /// How long they may go on having them, call after call, before that is a failure: a command with much to do takes them for seconds at a time.
  public var lenience = Duration.zero
  /// Since when another process has had the hands whenever they were wanted, by the monotonic clock.
  private var heldSince: Int64?

  /// Set by tests: true stops the work there, as a kill would.
  var stopAfter: (@Sendable (Step) -> Bool)?
  /// Recipients of a batch that are held at once; two batches may be under way. Set by tests.
  var mostRecipients = 200_000
  /// Of entries that wait to leave so many recipients, about, are looked at in one tick: each look reads all their marks. Set by tests.
  var watchedRecipients = 20_000
  /// A batch of one tick that is this large, in bytes, leaves what is left of it to a later tick: nothing is looked at while messages of many
  /// megabytes are copied, or of very many recipients marked (each counts for a kilobyte). For a daemon; an order of a command is carried
  /// out whole.
  public var mostBytes = Int64.max
  /// Looks for deliveries under way; replaced by tests.
  var look: @Sendable () throws -> DeliveriesInFlight = { try DeliveriesInFlight.look() }

  /// Actions kept for a ledger that cannot be written at the moment.
  private static let longestWait = 200_000
  /// Intents that the ledger did not take yet.
  private var unwritten: [PlannedAction] = []
  /// Deliveries that the log told of, while the ledger or the hands could not be had.
  var unheard: [FinishedDelivery] = []
  /// What the log has told is noted with the copies: its place may be saved.
  public var hasHeardAll: Bool { unheard.isEmpty }
  static let mostUnheard = 10_000
  /// What was chosen of each storm that goes on, and what of that has left.
  private var tallies: [Int: PacedFigure<(chosen: Int, gone: Int)>] = [:]
  private var store: QuarantineStore?
  var told = ToldOnce()
  /// badmailfrom as the hands left it; nil: to be compared with the ledger.
  var tended: FileStatus??
  var cursors = Cursors()
  var lotSize = LotSize()
  var lastForgot: Timestamp?
  /// Since when there has been nothing to do, and until when there will be nothing unless something changes.
  private var rest: (mark: Ledger.Mark, since: Timestamp, until: Timestamp)?
  /// ``recover(at:)`` has come to its end; until then it is to be called again.
  public internal(set) var isRecovered = false

  /// Where the next bounded piece of work goes on: numbers of ledger rows.
  struct Cursors {
    var retiring: Int64 = 0
    var finishing: Int64 = 0
    var watching: Int64 = 0
    /// All that departed at the start have been looked at once.
    var hasWatchedAll = false
  }

  /// Queue numbers of departing messages to which something happened, to be looked at next.
  private(set) var touched: Set<UInt64> = []
  /// ``quarantineTick(at:)`` is wanted soon: for departing messages to which something happened.
  public var hasTouched: Bool { !touched.isEmpty }

  /// Something has happened to these messages, or they have left the queue.
  public func note(touched records: [QuarantineRecord]) {
    for record in records where record.isDeparting { touched.insert(record.identity.id) }
  }

  /// At most so many of them, which are not given again.
  func takeTouched(atMost most: Int) -> Set<UInt64> {
    let some = Set(touched.prefix(most))
    touched.subtract(some)
    return some
  }

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

  /// The dialect in force: what the policy names, else what `bin/qmail-smtpd` is found to be; nil when neither tells.
  public static func dialect(_ policy: Policy, qmail: String) -> BadmailfromDialect? {
    policy.blocking.dialect.flatMap { BadmailfromDialect(rawValue: $0) }
      ?? BadmailfromDialect.detect(qmail: qmail)
  }

  // MARK: Performing a plan

  /// Writes down the plan's intents and carries out what can be done at once (blocks). Messages are set aside by
  /// ``quarantineTick(at:)``. Held actions come back once for each storm, guard and address.
  public func perform(_ actions: [PlannedAction], at now: Timestamp) -> [Outcome] {
    var outcomes: [Outcome] = []
    unwritten += actions
    // A ledger that cannot be written for days must not fill the memory.
    if unwritten.count > Self.longestWait {
      unwritten.removeFirst(unwritten.count - Self.longestWait)
    }
    let hasBlocks = actions.contains { action in
      if case .block = action.action { !action.decision.isHeld } else { false }
    }
    working("write down", "a response", &outcomes) { outcomes throws(Trouble) in
      try writeIntents(&outcomes, now)
    }
    if hasBlocks { outcomes += tendBlocks(at: now) }
    return outcomes
  }

  /// Ledger first: a plan that could not be written is kept and tried again at the next call.
  func writeIntents(_ outcomes: inout [Outcome], _ now: Timestamp) throws(Trouble) {
    if unwritten.isEmpty { return }
    var history = History(now)
    var chosen: [Int: [EntryIdentity]] = [:]
    for action in unwritten {
      if case .hold(let by, let why) = action.decision {
        let (isNew, first) = told.held(action, by: by, why: why)
        if isNew { outcomes.append(.held(action, by, why: why)) }
        history.add(action, .held, why: first)
        continue
      }
      switch action.action {
      case .alert: history.add(action, .done, why: action.reason)
      case .quarantine(let identity): chosen[action.incident, default: []].append(identity)
      case .block(let entry, let lasting):
        try attempt {
          try ledger.intendBlock(
            entry, author: .incident(action.incident), reason: action.reason,
            expires: now + lasting, at: now)
        }
      }
    }
    for (incident, identities) in chosen.sorted(by: { $0.key < $1.key }) {
      try attempt {
        try ledger.intendQuarantine(
          of: identities, incident: incident, expires: now + policy.quarantine.keep, at: now)
      }
      tallies[incident]?.change { $0.chosen += identities.count }
    }
    unwritten = []
    try attempt { try ledger.record(history.actions) }
    try step(.blockIntended)
    try step(.quarantineIntended)
  }

  // MARK: At every poll

  /// Copies whose time has run out may wait so long.
  private static let longestRest = Duration.seconds(60)

  /// Everything that a poll has to tend: blocks, the quarantine, copies that have run out. Where nothing was to be done and neither the ledger nor
  /// badmailfrom has changed since, that is seen with three system calls, once a minute excepted.
  /// - Returns: nil when there was nothing to do.
  public func tendAll(at now: Timestamp) -> QuarantineProgress? {
    let mark = try? ledger.mark()
    if let rest, unwritten.isEmpty, mark == rest.mark, now >= rest.since, now < rest.until,
      isTended
    {
      return nil
    }
    var outcomes = tendBlocks(at: now)
    outcomes += expireQuarantine(at: now)
    var progress = quarantineTick(at: now)
    let isDone =
      outcomes.isEmpty && progress.outcomes.isEmpty && !progress.hasMore
      && progress.waiting == 0 && !progress.someLeave
    progress.outcomes = outcomes + progress.outcomes
    rest = nil
    if isDone, let mark, let blocks = try? ledger.standingBlocks() {
      let until = blocks.map(\.expires).min() ?? now + Self.longestRest
      rest = (mark, now, min(now + Self.longestRest, until))
    }
    return progress
  }

  // MARK: Planning

  /// What the planner needs to know of the ledger and the disk.
  public func context(at now: Timestamp, storms: [Storm], queueMessages: Int)
    throws(LedgerError) -> PlanningContext
  {
    var context = PlanningContext(now: now, control: control, dialect: dialect)
    context.queueMessages = queueMessages
    context.standingBlocks = Set(try ledger.standingBlocks().map(\.entry))
    context.blocksThisHour = try ledger.blocksCreated(since: now - .seconds(3600))
    tallies = tallies.filter { tally in storms.contains { $0.incident == tally.key } }
    for storm in storms {
      context.storms[storm.incident] = storm
      let (chosen, gone) = try tallies[storm.incident, default: PacedFigure()]
        .value { () throws(LedgerError) in
          try ledger.quarantineTally(incident: storm.incident)
        }
      context.quarantined[storm.incident] = chosen
      context.quarantinedGone[storm.incident] = gone
      for entry in storm.offenders.compactMap(BlockGuards.entry(for:)) {
        context.earlierBlocks[entry] = try ledger.earlierBlocks(of: entry)
        context.graces[entry] = try ledger.grace(of: entry, at: now)
      }
    }
    // Where it cannot be told the copies themselves will say so.
    if let free = try? Folder.free(places.state) {
      context.freeSpace = free.space
      context.freeInodes = free.inodes
    }
    return context
  }

  // MARK: For the hands

  func step(_ step: Step) throws(Trouble) {
    if stopAfter?(step) == true { throw .stopped }
  }

  /// Runs one piece of work; what ends it early becomes a failure, told once.
  func working(
    _ action: String, _ value: String, _ outcomes: inout [Outcome],
    _ body: (inout [Outcome]) throws(Trouble) -> Void
  ) {
    do throws(Trouble) {
      try body(&outcomes)
      told.succeeded(action, value)
    } catch {
      switch error {
      case .stopped: return
      case .busy where isHeldBriefly: return
      default: break
      }
      // Its directory may have been replaced or mounted anew: open it afresh next time.
      store = nil
      fail(action, value, error, isPart: false, &outcomes)
    }
  }

  /// Does something for one message of many. What is wrong with it, or with its copy, is told and keeps no other waiting.
  func alone(
    _ action: String, _ identity: EntryIdentity, incident: Int?,
    _ outcomes: inout [Outcome], _ body: (inout [Outcome]) throws(Trouble) -> Void
  ) throws(Trouble) {
    do throws(Trouble) { try body(&outcomes) } catch {
      guard error.isOfOneMessage else { throw error }
      fail(action, "\(identity.id)", error, incident: incident, &outcomes)
    }
  }

  private var isHeldBriefly: Bool {
    guard let heldSince else { return false }
    return Duration.nanoseconds(WallClock.monotonic() - heldSince) < lenience
  }

  /// What fails at the moment, however long ago it was told.
  public var failures: [Outcome.Failure] { told.standing }

  /// The ledger has moved what is to run out: badmailfrom is to say so too.
  public func clockWasSet() {
    tended = nil
    lastForgot = nil
  }

  func fail(
    _ action: String, _ value: String, _ trouble: Trouble, incident: Int? = nil,
    isPart: Bool = true, _ outcomes: inout [Outcome]
  ) {
    let failure = Outcome.Failure(
      action, value, why: trouble.why, exitCode: trouble.exitCode, incident: incident)
    if told.failed(failure, isPart: isPart) { outcomes.append(.failed(failure)) }
  }

  /// Holds ``HandsLock`` while `body` runs.
  func withHands(waiting longest: Duration? = nil, _ body: () throws(Trouble) -> Void)
    throws(Trouble)
  {
    guard
      let lock = try attempt({
        try HandsLock.take(state: places.state, patience: longest ?? patience)
      })
    else {
      heldSince = heldSince ?? WallClock.monotonic()
      throw .busy("\(places.state)/lock")
    }
    heldSince = nil
    try withExtendedLifetime(lock, body)
  }

  /// The quarantine's directory, made when it is missing.
  func quarantine() throws(Trouble) -> QuarantineStore {
    if let store { return store }
    let opened = try attempt {
      try Folder.make(places.quarantine, handed: true)
      return try QuarantineStore(path: places.quarantine, creating: false)
    }
    store = opened
    return opened
  }

  func settledLook() throws(Trouble) -> DeliveriesInFlight { try .settled(look) }

  /// ``Recovery`` with our looks.
  func recover(
    _ identity: EntryIdentity, _ store: QuarantineStore, _ look: DeliveriesInFlight
  ) throws(RetirementRefusal) -> Recovery.Outcome {
    try Recovery.finish(identity, in: layout, store: store, look: look) {
      () throws(RetirementRefusal) in
      Pause.untilDoneIsWritten()
      do throws(Trouble) { return try settledLook() } catch {
        if case .file(let error) = error { throw .file(error) }
        throw .file(FileError("look for deliveries", "/proc"))
      }
    }
  }
}

extension DeliveriesInFlight {
  /// A look that is worth something: while qmail has forked a delivery and not yet started its program, whom it is for cannot be told,
  /// so look again after a moment.
  static func settled(_ look: () throws -> DeliveriesInFlight) throws(Trouble)
    -> DeliveriesInFlight
  {
    var found = try attempt { try look() }
    for _ in 0..<25 where found.startingUp > 0 {
      Pause.milliseconds(2)
      found = try attempt { try look() }
    }
    return found
  }
}

/// Collects what goes into the ledger's history: alike actions once, with a count.
struct History {
  private let now: Timestamp
  private(set) var actions: [ActionRecord] = []
  private var index: [Key: Int] = [:]

  private struct Key: Hashable {
    var incident: Int?
    var action: String
    var value: [UInt8]
    var outcome: ActionRecord.Outcome
    var why: String
  }

  init(_ now: Timestamp) { self.now = now }

  mutating func add(
    _ action: String, _ value: [UInt8] = [], incident: Int?, _ outcome: ActionRecord.Outcome,
    why: String = ""
  ) {
    let key = Key(incident: incident, action: action, value: value, outcome: outcome, why: why)
    if let at = index[key] {
      actions[at].times += 1
    } else {
      index[key] = actions.count
      actions.append(
        ActionRecord(
          incident: incident, action: action, value: value, outcome: outcome, why: why, at: now))
    }
  }

  mutating func add(_ planned: PlannedAction, _ outcome: ActionRecord.Outcome, why: String) {
    var value: [UInt8] = []
    if case .block(let entry, _) = planned.action { value = entry.bytes }
    add(planned.action.name, value, incident: planned.incident, outcome, why: why)
  }
}
