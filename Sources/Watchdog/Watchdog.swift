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
  private static let atOnce = 1024
  private static let gentlePause = 0.2
  private static let reportPause = 1.0

  private let executor = DispatchExecutor(label: "qwarden.watchdog")
  public nonisolated var unownedExecutor: UnownedSerialExecutor {
    executor.asUnownedSerialExecutor()
  }

  private let configuration: Configuration
  private let sinks: [any EventSink]
  private let notifier = ServiceNotifier()
  private let instance: FileLock
  private let ledger: Ledger
  private let responder: Responder
  private let watcher: QueueWatcher
  private let reader: EntryReader
  private var policy: Policy
  private var detector: StormDetector
  private var log: LogSource
  private var logEvents: (any DispatchSourceRead)?
  private var logIsDue = false
  private var hasCaughtUp = false

  private var sources: [any DispatchSourceProtocol] = []
  private var timer: (any DispatchSourceTimer)?
  private var timerInterval = Duration.zero
  private var onStop: (@Sendable () -> Void)?
  private var workIsScheduled = false
  /// The last look stopped at its bound: the next follows at once.
  private var moreIsThere = false

  /// Monotonic seconds of the next pass over all names, of the last report, of the last work on the quarantine.
  private var nextFullPass = 0.0
  private var lastReport = -1e9
  private var lastWork = -1e9

  private let started: Timestamp
  private var look = StatusReport.Look()
  private var trouble: String?
  private var notes: [String]
  private var senderIsRunning: Bool?
  private var progress = QuarantineProgress()
  /// Messages set aside for each incident of which nothing was said yet, and the incidents of which it was: once is enough, the
  /// storm's end gives the sum.
  private var untold: [Int: Int] = [:]
  private var told: Set<Int> = []

  /// Opens everything; nothing is changed and nothing is watched yet.
  ///
  /// - Throws: `QueueError`, `ControlError`, `LedgerError`, `FileError` or ``AlreadyRunning``, each one clear line.
  public init(_ configuration: Configuration, sinks: [any EventSink]) throws {
    let layout = try QueueLayout.read(qmail: configuration.places.qmail)
    let control = try ControlDirectory(qmail: configuration.places.qmail).read()
    try Folder.make(configuration.places.state)
    guard
      let instance = try FileLock.take("\(configuration.places.state)/daemon.lock", waiting: false)
    else { throw AlreadyRunning(state: configuration.places.state) }
    let ledger = try Ledger(configuration.places.ledger)
    let policy = configuration.policy
    self.instance = instance
    self.configuration = configuration
    self.sinks = sinks
    self.ledger = ledger
    self.policy = policy
    responder = Responder(
      places: configuration.places, layout: layout, ledger: ledger, policy: policy,
      control: control,
      dialect: Self.dialect(policy, qmail: configuration.places.qmail))
    watcher = try QueueWatcher(layout: layout)
    reader = EntryReader(layout: layout)
    detector = StormDetector(
      settings: policy.detection, localDomains: control.localDomains,
      resuming: try ledger.openIncidents(), nextIncident: try ledger.nextIncident())
    notes = layout.notes + control.notes
    started = WallClock.now()
    log = LogSource(policy.log, state: configuration.places.state, at: started)
  }

  private static func dialect(_ policy: Policy, qmail: String) -> BadmailfromDialect? {
    policy.blocking.dialect.flatMap { BadmailfromDialect(rawValue: $0) }
      ?? BadmailfromDialect.detect(qmail: qmail)
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

  private func run(onStop: @escaping @Sendable () -> Void) {
    self.onStop = onStop
    begin()
    onSignal(SIGTERM) { $0.stop(because: "SIGTERM") }
    onSignal(SIGINT) { $0.stop(because: "SIGINT") }
    onSignal(SIGHUP) { $0.reload() }
    onSignal(SIGUSR1) { $0.lookAgain() }
    if let descriptor = watcher.eventDescriptor {
      let source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: executor.queue)
      source.setEventHandler { @Sendable [weak self] in
        self?.assumeIsolated { $0.queueChanged() }
      }
      source.activate()
      sources.append(source)
    }
    awaitLog()
    tick(fullPass: true)
    notifier.ready(status: report().line)
  }

  private func begin() {
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
    tell(responder.recover(at: now), at: now)
  }

  private func onSignal(_ number: Int32, _ handle: @escaping @Sendable (isolated Watchdog) -> Void)
  {
    let source = DispatchSource.makeSignalSource(signal: number, queue: executor.queue)
    source.setEventHandler { @Sendable [weak self] in
      self?.assumeIsolated { handle($0) }
    }
    source.activate()
    sources.append(source)
  }

  private func stop(because reason: String) {
    guard let onStop else { return }
    self.onStop = nil
    notifier.stopping(status: "stopping: \(reason)")
    timer?.cancel()
    for source in sources { source.cancel() }
    logEvents?.cancel()
    let now = WallClock.now()
    saveLogPosition(at: now, isLast: true)
    remember(detector.storms, at: now)
    tell(Event(.stopping, at: now, .info, reason, [JournalField(.reason, reason)]))
    try? report().write(state: configuration.places.state)
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
      policy = fresh
      responder.policy = fresh
      responder.control = control
      responder.dialect = Self.dialect(fresh, qmail: configuration.places.qmail)
      detector.settings = fresh.detection
      detector.localDomains = control.localDomains
      tell(
        Event(
          .policyReloaded, at: now, .notice, "\(path) is in force; mode \(fresh.mode.rawValue)",
          [JournalField(.path, path), JournalField(.mode, fresh.mode.rawValue)]))
      schedule()
    } catch {
      let why = String(describing: error)
      let first = why.split(separator: "\n").first.map(String.init) ?? why
      tell(
        Event(
          .policyRefused, at: now, .error, "\(path) is refused and the old policy stays: \(first)",
          [JournalField(.path, path), JournalField(.reason, why)]))
    }
  }

  /// SIGUSR1: a pass over all names now, and one line about it.
  private func lookAgain() {
    tick(fullPass: true)
    let report = report()
    tell(
      Event(
        .looked, at: WallClock.now(), .info,
        "\(report.line); this look: \(look.new) new, \(look.gone) gone, \(look.opened) opened, \(milliseconds(look.seconds)) ms"
      ))
  }

  // MARK: The loop

  /// inotify has something: messages may live for milliseconds only, so look at once.
  private func queueChanged() {
    observe(fullPass: false)
    let now = seconds()
    if progress.hasMore
      || (progress.waiting + progress.leaving > 0 && now - lastWork > Self.gentlePause)
    {
      work()
    }
    if now - lastReport > Self.reportPause { publish() }
    schedule()
  }

  /// The timer: everything that is due.
  private func tick(fullPass: Bool) {
    observe(fullPass: fullPass || seconds() >= nextFullPass)
    let now = WallClock.now()
    if trouble == nil {
      see(watcher.health(at: now))
      see(Observation(time: now, event: .counts(watcher.counts)))
      reconsiderBlocks(at: now)
      tell(responder.tendBlocks(at: now), at: now)
      tell(responder.expireQuarantine(at: now), at: now)
      remember(detector.storms, at: now)
      saveLogPosition(at: now)
      work()
    }
    publish()
    schedule()
  }

  /// Takes in what changed in the queue and acts on it.
  private func observe(fullPass: Bool) {
    let begun = WallClock.monotonic()
    let now = WallClock.now()
    if fullPass { nextFullPass = seconds() + policy.polling.fullPass.inSeconds }
    if fullPass, log.retry(at: now) { awaitLog() }
    do {
      var events = try catchUp()
      var found: PollReport
      do { found = try watcher.poll(at: now, fullPass: fullPass, atMost: Self.atOnce) } catch {
        act(on: events + (try take(readLog(at: now))), at: now)
        throw error
      }
      // The queue first, since messages live for milliseconds; and again for what came while the log was read, so that of every
      // line the queue's part of the story is there before the line is told.
      let written = readLog(at: WallClock.now())
      if !written.isEmpty {
        found.append(try watcher.poll(at: WallClock.now(), fullPass: false, atMost: 0))
      }
      if trouble != nil {
        trouble = nil
        tell(
          Event(
            .queueReadable, at: now, .notice, "the queue can be read again",
            [JournalField(.path, "\(configuration.places.qmail)/queue")]))
      }
      for text in found.notes { note(text, at: now) }
      for damage in found.damaged { tell(degraded("message \(damage.id): \(damage.why)", at: now)) }
      events += try take(Chronicle.merge(queue: found.observations, log: written))
      look.new = found.statistics.new
      look.gone = found.statistics.gone
      look.opened = found.statistics.opened
      look.seen += found.statistics.new
      moreIsThere = found.hasMore
      act(on: events, at: now)
    } catch let error as QueueError {
      blind(error, at: now)
    } catch {
      note("the ledger cannot be read: \(error)", at: now)
    }
    look.seconds = Double(WallClock.monotonic() - begun) / 1e9
  }

  /// Hands what was seen to the detector, our own doing left out.
  private func take(_ observations: [Observation]) throws(LedgerError) -> [StormEvent] {
    guard let last = observations.last else { return [] }
    let released = try ledger.releasePIDs(since: last.time - .seconds(86_400))
    var events: [StormEvent] = []
    for observation in observations {
      log.count(observation)
      if !isReleased(observation, released) { events += detector.observe(observation) }
    }
    return events
  }

  /// What a release put back is our own doing and no evidence: its qmail-queue is in the ledger.
  private func isReleased(_ observation: Observation, _ pids: Set<Int32>) -> Bool {
    if case .log(let line) = observation.event { return log.isRelease(line) }
    guard !pids.isEmpty, case .arrival(let entry) = observation.event, case .uid = entry.source,
      observation.time.seconds(since: entry.identity.birth) < 86_400,
      let pid = entry.queuedBy.flatMap({ Int32(exactly: $0) }), pids.contains(pid)
    else { return false }
    log.noteRelease(entry)
    return true
  }

  private func see(_ observation: Observation) {
    if case .health(let health) = observation.event { senderIsRunning = health.senderIsRunning }
    act(on: detector.observe(observation), at: observation.time)
  }

  private func blind(_ error: QueueError, at now: Timestamp) {
    guard trouble != error.description else { return }
    trouble = error.description
    tell(
      Event(
        .queueUnreadable, at: now, .alert, "the queue cannot be watched: \(error)",
        [JournalField(.path, error.path), JournalField(.reason, error.description)]))
  }

  /// Plans and performs what storm events call for, and tells of them.
  private func act(on events: [StormEvent], at now: Timestamp) {
    guard !events.isEmpty else { return }
    do {
      var context = try responder.context(
        at: now, storms: detector.storms, queueMessages: watcher.counts.messages)
      var planned: [PlannedAction] = []
      for event in events {
        switch event {
        case .began(let storm), .changed(let storm):
          try ledger.record(storm)
          context.storms[storm.incident] = storm
          tell(
            Event(
              event.isBeginning ? .stormBegan : .stormChanged, of: storm, mode: policy.mode,
              at: now))
          planned += ResponsePlanner.plan(event, policy: policy, context: context)
        case .ended(let storm):
          try ledger.record(storm)
          let kept = try ledger.quarantineCounts(incident: storm.incident)
          told.remove(storm.incident)
          tell(
            Event(
              endOf: storm, setAside: (kept[.marked] ?? 0) + (kept[.gone] ?? 0), mode: policy.mode,
              at: now))
        case .joined(let incident, let identity):
          let entry = policy.protect == Policy.Protection() ? nil : read(identity)
          let actions = ResponsePlanner.plan(event, policy: policy, context: context, entry: entry)
          if actions.contains(where: { $0.decision == .perform }) {
            context.quarantined[incident, default: 0] += 1
          }
          planned += actions
        }
      }
      tell(responder.perform(planned, at: now), at: now)
      progress.hasMore =
        progress.hasMore
        || planned.contains { action in
          if case .quarantine = action.action { action.decision == .perform } else { false }
        }
    } catch {
      tell(degraded("the ledger cannot be used: \(error)", at: now))
    }
  }

  private func read(_ identity: EntryIdentity) -> Entry? {
    if case .entry(let entry) = reader.read(identity.id), entry.identity == identity {
      entry
    } else {
      nil
    }
  }

  /// Evidence grows while a storm goes on, and caps free up: what was held back at its begin may be right now.
  private func reconsiderBlocks(at now: Timestamp) {
    guard !detector.storms.isEmpty else { return }
    do {
      let context = try responder.context(
        at: now, storms: detector.storms, queueMessages: watcher.counts.messages)
      let planned = detector.storms.flatMap {
        ResponsePlanner.blocks(for: $0, policy: policy, context: context)
      }
      tell(responder.perform(planned, at: now), at: now)
    } catch {
      tell(degraded("the ledger cannot be used: \(error)", at: now))
    }
  }

  /// A bounded piece of work on the quarantine.
  private func work() {
    let now = WallClock.now()
    lastWork = seconds()
    progress = responder.quarantineTick(at: now)
    for case .quarantined(let record) in progress.outcomes { detector.disregard(record.identity) }
    tell(progress.outcomes, at: now)
    if progress.waiting == 0 {
      for (incident, count) in untold { tellOfQuarantine(count, of: incident, at: now) }
      untold = [:]
    }
  }

  /// Sets the timer to what the present state wants, and asks for more work soon where some is left.
  private func schedule() {
    guard onStop != nil else { return }
    let wanted = detector.storms.isEmpty ? policy.polling.normal : policy.polling.storm
    if wanted != timerInterval {
      timerInterval = wanted
      timer?.cancel()
      let fresh = DispatchSource.makeTimerSource(queue: executor.queue)
      let nanoseconds = Int(wanted.wholeNanoseconds)
      fresh.schedule(
        deadline: .now() + .nanoseconds(nanoseconds), repeating: .nanoseconds(nanoseconds),
        leeway: .nanoseconds(nanoseconds / 20))
      fresh.setEventHandler { @Sendable [weak self] in
        self?.assumeIsolated { $0.tick(fullPass: false) }
      }
      fresh.activate()
      timer = fresh
    }
    let isUrgent = progress.hasMore || moreIsThere
    guard isUrgent || progress.waiting > 0, !workIsScheduled else { return }
    workIsScheduled = true
    let delay: DispatchTimeInterval = isUrgent ? .milliseconds(1) : .milliseconds(100)
    executor.queue.asyncAfter(deadline: .now() + delay) { @Sendable [weak self] in
      self?.assumeIsolated { watchdog in
        watchdog.workIsScheduled = false
        if watchdog.moreIsThere { watchdog.observe(fullPass: false) }
        if watchdog.progress.hasMore || watchdog.progress.waiting > 0 { watchdog.work() }
        if watchdog.seconds() - watchdog.lastReport > Self.reportPause { watchdog.publish() }
        watchdog.schedule()
      }
    }
  }

  // MARK: The log

  /// Reads the log when it changes: a little later, for the queue wakes the reader anyway when it matters, and many lines cost no more than one.
  private func awaitLog() {
    logEvents?.cancel()
    logEvents = nil
    // A copy, closed when Dispatch has let go of it, whatever has become of the log by then.
    guard onStop != nil, let descriptor = log.descriptor.map({ fcntl($0, F_DUPFD_CLOEXEC, 3) }),
      descriptor >= 0
    else { return }
    let source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: executor.queue)
    source.setEventHandler { @Sendable [weak self] in
      self?.assumeIsolated { watchdog in
        watchdog.log.acknowledge()
        watchdog.readLogSoon(.milliseconds(100))
      }
    }
    source.setCancelHandler { @Sendable in close(descriptor) }
    source.activate()
    logEvents = source
  }

  private func readLogSoon(_ delay: DispatchTimeInterval) {
    guard !logIsDue, onStop != nil else { return }
    logIsDue = true
    executor.queue.asyncAfter(deadline: .now() + delay) { @Sendable [weak self] in
      self?.assumeIsolated { watchdog in
        watchdog.logIsDue = false
        watchdog.queueChanged()
      }
    }
  }

  private func readLog(at now: Timestamp) -> [Observation] {
    let report = log.read(at: now)
    for text in report.notes { note(text, at: now) }
    if report.hasMore { readLogSoon(.milliseconds(1)) }
    return report.observations
  }

  /// At the start: what was written while qwarden did not run comes before the first look at the queue.
  private func catchUp() throws(LedgerError) -> [StormEvent] {
    guard !hasCaughtUp else { return [] }
    hasCaughtUp = true
    var events: [StormEvent] = []
    while true {
      let now = WallClock.now()
      let report = log.read(at: now)
      for text in report.notes { note(text, at: now) }
      events += try take(report.observations)
      guard report.hasMore else { return events }
      notifier.keepAlive(status: "reading what qmail-send logged meanwhile")
    }
  }

  private func saveLogPosition(at now: Timestamp, isLast: Bool = false) {
    do {
      try log.save(at: now, isLast: isLast)
    } catch {
      note("the place reached in the log cannot be saved: \(error)", at: now)
    }
  }

  // MARK: Telling

  private func publish() {
    lastReport = seconds()
    let report = report()
    notifier.keepAlive(status: report.line)
    try? report.write(state: configuration.places.state)
  }

  private func report() -> StatusReport {
    let counts = watcher.counts
    var queue = StatusReport.Queue()
    queue.messages = counts.messages
    queue.unprocessed = counts.unprocessed
    queue.local = counts.local
    queue.remote = counts.remote
    queue.bouncing = counts.bouncing
    queue.doneOnly = counts.doneOnly
    queue.senderIsRunning = senderIsRunning
    let kept = try? ledger.quarantineCounts()
    var report = StatusReport(
      version: configuration.version, pid: getpid(), started: started.seconds,
      written: WallClock.now().seconds, mode: policy.mode.rawValue,
      qmail: configuration.places.qmail, trouble: trouble, notes: notes, queue: queue,
      lastLook: look,
      storms: detector.storms.map {
        StatusReport.OpenStorm(
          incident: $0.incident, kind: $0.kind.rawValue, began: $0.began.seconds,
          messages: $0.evidence.messages, reason: $0.reason)
      },
      activeBlocks: (try? ledger.standingBlocks().count) ?? 0,
      quarantined: (kept?[.marked] ?? 0) + (kept?[.gone] ?? 0),
      quarantinePending: progress.waiting)
    report.log = log.status(at: WallClock.now())
    return report
  }

  private func remember(_ storms: [Storm], at now: Timestamp) {
    do {
      for storm in storms { try ledger.record(storm) }
    } catch {
      note("the ledger cannot be written: \(error)", at: now)
    }
  }

  private func tell(_ event: Event) { for sink in sinks { sink.take(event) } }

  private func tell(_ outcomes: [Outcome], at now: Timestamp) {
    for outcome in outcomes {
      if case .quarantined(let record) = outcome, let incident = record.incident,
        !told.contains(incident)
      {
        untold[incident, default: 0] += 1
      }
      if let event = Event(outcome, policy: policy, at: now) { tell(event) }
    }
  }

  private func tellOfQuarantine(_ count: Int, of incident: Int, at now: Timestamp) {
    told.insert(incident)
    tell(
      Event(
        .quarantined, at: now, .notice,
        "incident \(incident): the first \(count) messages are set aside; 'qwarden release --incident \(incident)' puts them back",
        [
          JournalField(.incident, incident), JournalField(.messages, count),
          JournalField(.action, "quarantine"), JournalField(.mode, policy.mode.rawValue),
        ]))
  }

  private func note(_ text: String, at now: Timestamp) {
    guard !notes.contains(text) else { return }
    notes.append(text)
    tell(degraded(text, at: now))
  }

  private func degraded(_ text: String, at now: Timestamp) -> Event {
    Event(.degraded, at: now, .warning, text, [JournalField(.reason, text)])
  }

  private func seconds() -> Double { Double(WallClock.monotonic()) / 1e9 }

  private func milliseconds(_ seconds: Double) -> String {
    let tenths = Int((seconds * 10_000).rounded())
    return "\(tenths / 10).\(tenths % 10)"
  }
}

extension StormEvent {
  fileprivate var isBeginning: Bool { if case .began = self { true } else { false } }
}
