import Dispatch
import Files
import Glibc
import Ledger
import Mail
import Policy
import QmailControl
import QmailQueue
import Response
import Storms
import Synchronization
import Systemd

/// The daemon: one actor on one Dispatch queue, fed by a timer, inotify and signals.
///
/// Data goes one way: look at the queue, hand what was seen to the detector, plan, let the hands move, tell. The watchdog ping to
/// systemd is sent by the same loop, so a loop that hangs is restarted.
public actor Watchdog {
  /// What it is started with.
  public struct Configuration: Sendable {
    public var places: Responder.Places
    public var policyPath: String
    public var policy: Policy
    public var version: String

    public init(
      places: Responder.Places, policyPath: String, policy: Policy, version: String
    ) {
      self.places = places
      self.policyPath = policyPath
      self.policy = policy
      self.version = version
    }
  }

  /// Another qwarden watches with the same state directory.
  public struct AlreadyRunning: Error, CustomStringConvertible {
    public let state: String
    public var description: String {
      "\(state): another qwarden runs with this state directory; stop it, or choose another with --state"
    }
  }

  /// Messages taken in at once, so that the first look at a large queue neither fills memory nor keeps the keep-alive waiting.
  static let atOnce = 1024
  static let gentlePause = 0.2
  /// Where a log tells of outcomes, looks that events call for follow each other no faster than this: what arrives is read meanwhile.
  static let lookPause = 0.05
  static let reportPause = 1.0
  /// How long a call waits for another process to be done with the ledger: the loop and its keep-alive wait with it.
  static let ledgerPatience = Duration.seconds(1)
  /// And how long a start waits for it, in nanoseconds: 20 starts of this length last longer than the time in which systemd counts them.
  private static let startPatience: Int64 = 60_000_000_000

  let executor = DispatchExecutor(label: "qwarden.watchdog")
  public nonisolated var unownedExecutor: UnownedSerialExecutor {
    executor.asUnownedSerialExecutor()
  }

  let configuration: Configuration
  let sinks: [any EventSink]
  let notifier = ServiceNotifier()
  let instance: FileLock
  let ledger: Ledger
  /// Where the ledger found damaged, at the start or later, is now.
  var damagedLedger: String?
  let responder: Responder
  let watcher: QueueWatcher
  let reader: EntryReader
  var policy: Policy
  var detector: StormDetector
  /// inotify's; suspended while a look is due.
  var queueEvents: (any DispatchSourceRead)?
  var lookIsDue = false
  var lastLook = -1e9
  /// A signal has come that ends it: what takes long before the first look stops for it.
  nonisolated let isToEnd = Atomic(false)
  var log: LogSource
  var history: TrafficHistory
  var logEvents: (any DispatchSourceRead)?
  var logIsDue = false
  var metrics = Metrics()
  /// Rates, totals and the queue's length of the last hour.
  var flow: FlowMeter
  /// Answers the commands' questions while it runs.
  var questions: QuestionServer?
  var hasCaughtUp = false

  var sources: [any DispatchSourceProtocol] = []
  var timer: (any DispatchSourceTimer)?
  var timerInterval = Duration.zero
  var onStop: (@Sendable () -> Void)?
  var workIsScheduled = false
  /// The last look stopped at its bound: the next follows at once.
  var moreIsThere = false

  /// Monotonic seconds of the next pass over all names, of the last report, of the last work on the quarantine.
  var nextFullPass = 0.0
  var lastReport = -1e9
  var lastWork = -1e9
  /// And of the last writing of the metrics.
  var lastMetrics = -1e9

  var started: Timestamp
  var look = StatusReport.Look()
  var troubles = Troubles()
  var clock: ClockWatch
  /// The ledger's times are by the clock as it is.
  var knowsClock = false
  var notes: [String]
  /// Of the ledger, as last read.
  var kept = 0
  var keptFigure = PacedFigure<Int>()
  /// The ledger as it was when these were counted.
  var counted: Ledger.Mark?
  var activeBlocks = 0
  /// Storm events that are still to be planned for, since the ledger could not be used.
  var unplanned: [StormEvent] = []
  var late = LateDeliveries()
  var senderIsRunning: Bool?
  var progress = QuarantineProgress()
  /// As status.json has it.
  var published: StatusReport?
  /// The storms as the ledger has them: a storm that stands still is not written, and flushed, again at every tick.
  var remembered: [Storm] = []
  /// The latest point of each open storm's timeline.
  var pointed: [Int: IncidentPoint] = [:]
  /// What was set aside for each of them.
  var keptOf: [Int: PacedFigure<Int>] = [:]
  /// Messages set aside for each incident of which nothing was said yet, and the incidents of which it was: once is enough, the
  /// storm's end gives the sum.
  var untold: [Int: Int] = [:]
  /// Messages taken out on administrators' orders that their commands had left to the daemon, by what the ledger notes.
  var untoldOrders: [String: Int] = [:]
  var told: Set<Int> = []

  /// Opens everything; nothing is changed and nothing is watched yet.
  ///
  /// - Throws: `QueueError`, `ControlError`, `LedgerError`, `FileError` or ``AlreadyRunning``, each one clear line.
  public init(_ configuration: Configuration, sinks: [any EventSink]) throws {
    let layout = try QueueLayout.read(qmail: configuration.places.qmail)
    let control = try ControlDirectory(qmail: configuration.places.qmail).read()
    try Folder.make(configuration.places.state)
    guard
      let instance = try FileLock.take("\(configuration.places.state)/daemon.lock")
    else { throw AlreadyRunning(state: configuration.places.state) }
    started = WallClock.now()
    let (ledger, damaged) = try Self.openLedger(
      configuration.places.ledger, at: started, telling: notifier)
    damagedLedger = damaged
    clock = ClockWatch(since: try ledger.clock())
    let policy = configuration.policy
    self.instance = instance
    self.configuration = configuration
    self.sinks = sinks
    self.ledger = ledger
    self.policy = policy
    responder = Responder(
      places: configuration.places, layout: layout, ledger: ledger, policy: policy,
      control: control,
      dialect: Responder.dialect(policy, qmail: configuration.places.qmail))
    responder.patience = .seconds(1)
    responder.lenience = .seconds(10)
    responder.mostBytes = 64 << 20
    watcher = try QueueWatcher(layout: layout)
    reader = EntryReader(layout: layout)
    detector = StormDetector(
      settings: policy.detection, localDomains: control.localDomains,
      resuming: try ledger.openIncidents(), nextIncident: try ledger.nextIncident())
    notes = layout.notes + control.notes
    flow = FlowMeter(since: started)
    log = LogSource(policy.log, state: configuration.places.state, at: started)
    history = TrafficHistory(
      policy.history, state: configuration.places.state,
      header: TraceReader.Header(control, started: started), at: started)
  }

  /// A ledger that another process holds (a backup, an administrator's shell), or one on a full disk, is waited for: systemd counts how
  /// often a start fails.
  private static func openLedger(
    _ path: String, at now: Timestamp, telling notifier: ServiceNotifier
  ) throws(LedgerError) -> (ledger: Ledger, aside: String?) {
    let end = WallClock.monotonic() + startPatience
    while true {
      do throws(LedgerError) {
        return try Ledger.openSound(path, at: now, patience: ledgerPatience)
      } catch {
        guard error.kind == .busy || error.kind == .storage, WallClock.monotonic() < end,
          notifier.keepAlive(status: "waiting: \(error)", isStarting: true) != .notSupervised
        else { throw error }
        usleep(500_000)
      }
    }
  }

  // MARK: Running

  /// Looks once, does what follows, reports, and returns what was seen.
  public nonisolated func runOnce() -> StatusReport {
    executor.queue.sync {
      assumeIsolated { watchdog in
        watchdog.begin()
        watchdog.observe(fullPass: true)
        while watchdog.moreIsThere { watchdog.observe(fullPass: false) }
        watchdog.tick(fullPass: false)
        while watchdog.progress.hasMore { watchdog.work() }
        return watchdog.report()
      }
    }
  }

  /// Begins to watch and returns; signals SIGTERM and SIGINT end it.
  /// - Parameter onStop: called on the watchdog's queue when it has stopped in good order.
  public nonisolated func start(onStop: @escaping @Sendable () -> Void) {
    for number in [SIGTERM, SIGINT, SIGHUP, SIGUSR1] { signal(number, SIG_IGN) }
    signal(SIGPIPE, SIG_IGN)
    executor.queue.async { [self] in
      assumeIsolated { $0.run(onStop: onStop) }
    }
  }

  /// Ends it as SIGTERM does.
  public func stop() { stop(because: "asked to stop") }

  /// How it stands now.
  public func status() -> StatusReport { report() }

  func run(onStop: @escaping @Sendable () -> Void) {
    self.onStop = onStop
    // First: what is sent while it begins, which may take seconds, is obeyed as soon as it has begun.
    onSignal(SIGTERM, isEnd: true) { $0.stop(because: "SIGTERM") }
    onSignal(SIGINT, isEnd: true) { $0.stop(because: "SIGINT") }
    onSignal(SIGHUP) { $0.reload() }
    onSignal(SIGUSR1) { $0.lookAgain() }
    begin()
    awaitQueue()
    let arrived = onQueue { $0.lookSoon() }
    watcher.readArrivals { [queue = executor.queue] in queue.async(execute: arrived) }
    awaitLog()
    awaitQuestions()
    tick(fullPass: true)
    notifier.ready(status: report().line)
  }

  /// Looks when inotify has something; called again where there was no inotify to be had.
  func awaitQueue() {
    guard onStop != nil, queueEvents == nil, !lookIsDue, let descriptor = watcher.eventDescriptor
    else { return }
    let source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: executor.queue)
    source.setEventHandler(handler: onQueue { $0.lookSoon() })
    source.activate()
    queueEvents = source
  }

  /// `work` as a handler for Dispatch, to be called on the watchdog's queue; it does nothing once the watchdog is gone.
  func onQueue(_ work: @escaping @Sendable (isolated Watchdog) -> Void) -> @Sendable () -> Void {
    { [weak self] in self?.assumeIsolated { work($0) } }
  }

  /// Does `work` on the watchdog's queue, so much later.
  func after(
    _ delay: DispatchTimeInterval, _ work: @escaping @Sendable (isolated Watchdog) -> Void
  ) {
    executor.queue.asyncAfter(deadline: .now() + delay, execute: onQueue(work))
  }

  func begin() {
    let now = WallClock.now()
    tell(
      Event(
        .started, at: now, .info,
        "watching \(configuration.places.qmail)/queue in \(policy.mode.rawValue) mode",
        [
          JournalField(.path, "\(configuration.places.qmail)/queue"),
          JournalField(.mode, policy.mode.rawValue),
        ]))
    for note in notes { tell(degraded(note, at: now)) }
    if policy.mode == .enforce, responder.dialect == nil {
      note(
        "bin/qmail-smtpd is of no known kind, so badmailfrom is not edited; set blocking.dialect in the policy",
        at: now)
    }
    if let shift = clock.shift() { clockWasSet(by: shift, at: now) }
    tendClock()
    started = now
    if let damagedLedger { tellOfDamage(damagedLedger, at: now) }
    tell(responder.recover(at: now), at: now)
  }

  /// - Parameter isEnd: told at once to what is at work, too.
  func onSignal(
    _ number: Int32, isEnd: Bool = false,
    _ handle: @escaping @Sendable (isolated Watchdog) -> Void
  ) {
    let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
    let handler = onQueue(handle)
    source.setEventHandler { @Sendable [weak self, queue = executor.queue] in
      if isEnd { self?.isToEnd.store(true, ordering: .relaxed) }
      queue.async(execute: handler)
    }
    source.activate()
    sources.append(source)
  }

  func stop(because reason: String) {
    guard let onStop else { return }
    self.onStop = nil
    notifier.stopping(status: "stopping: \(reason)")
    timer?.cancel()
    for source in sources { source.cancel() }
    watcher.endReading()
    // A suspended source must not be let go of.
    if lookIsDue { queueEvents?.resume() }
    lookIsDue = false
    queueEvents?.cancel()
    logEvents?.cancel()
    questions?.assumeIsolated { $0.stop() }
    let now = WallClock.now()
    saveLogPosition(at: now, isLast: true)
    history.end()
    remember(detector.storms, at: now, isLast: true)
    tell(Event(.stopping, at: now, .info, reason, [JournalField(.reason, reason)]))
    try? report().write(state: configuration.places.state)
    removeMetrics()
    onStop()
  }

  /// SIGHUP: the policy and the control files are read again. What cannot be used is refused and the old one stays.
  func reload() {
    let now = WallClock.now()
    notifier.reloading(status: "reading the policy again")
    defer { notifier.ready(status: report().line) }
    let path = configuration.policyPath
    do {
      let fresh = try PolicyFile.load(path)
      let control = try ControlDirectory(qmail: configuration.places.qmail).read()
      if fresh.log != policy.log {
        saveLogPosition(at: now, isLast: true)
        log = LogSource(fresh.log, state: configuration.places.state, at: now)
        awaitLog()
      }
      if fresh.metrics != policy.metrics { removeMetrics() }
      let left = policy.mode == .observe && fresh.mode == .enforce ? storms(setAsideBy: fresh) : []
      policy = fresh
      responder.policy = fresh
      responder.control = control
      responder.dialect = Responder.dialect(fresh, qmail: configuration.places.qmail)
      detector.settings = fresh.detection
      detector.localDomains = control.localDomains
      history.policy = fresh.history
      history.rename(TraceReader.Header(control, started: now))
      tell(
        Event(
          .policyReloaded, at: now, .notice, "\(path) is in force; mode \(fresh.mode.rawValue)",
          [JournalField(.path, path), JournalField(.mode, fresh.mode.rawValue)],
          advice: left.map {
            "What incident \($0) brought before stays in the queue; to set it aside: [qwarden quarantine --incident \($0)]"
          }))
      schedule()
    } catch {
      let why = String(describing: error)
      let first = why.split(separator: "\n").first.map(String.init) ?? why
      tell(
        Event(
          .policyRefused, at: now, .error, "\(path) is refused and the old policy stays: \(first)",
          [JournalField(.path, path), JournalField(.reason, first)]))
    }
  }

  /// The storms that go on whose messages such a policy sets aside: those that come from now on.
  private func storms(setAsideBy policy: Policy) -> [Int] {
    guard policy.quarantine.isEnabled else { return [] }
    return detector.storms.filter { policy.quarantine.kinds.contains($0.kind) }.map(\.incident)
  }

  /// SIGUSR1: a pass over all names now, and one line about it.
  func lookAgain() {
    tick(fullPass: true)
    let report = report()
    tell(
      Event(
        .looked, at: WallClock.now(), .info,
        "\(report.line); this look: \(look.new) new, \(look.gone) gone, \(look.opened) opened, \((look.seconds * 1000).tenths()) ms"
      ))
  }
}
