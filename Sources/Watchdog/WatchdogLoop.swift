import Dispatch
import Files
import Ledger
import Mail
import Policy
import QmailQueue
import Response
import Storms
import Systemd

// The loop: look, plan, act.
extension Watchdog {
  /// inotify has something. Without a log, marks and bounce files tell of outcomes, and they may live for milliseconds only: look at once.
  func lookSoon() {
    guard !lookIsDue, onStop != nil else { return }
    let wait = Self.lookPause - (seconds() - lastLook)
    guard log.isFollowed, wait > 0 else { return queueChanged() }
    lookIsDue = true
    queueEvents?.suspend()
    after(.nanoseconds(Int(wait * 1e9))) { watchdog in
      guard watchdog.lookIsDue else { return }
      watchdog.lookIsDue = false
      watchdog.queueEvents?.resume()
      watchdog.queueChanged()
    }
  }

  func queueChanged() {
    guard onStop != nil else { return }
    observe(fullPass: false)
    let now = seconds()
    if progress.hasMore
      || (progress.waiting > 0 || responder.hasTouched) && now - lastWork > Self.gentlePause
    {
      work()
    }
    if now - lastReport > Self.reportPause { publish() }
    schedule()
  }

  /// Events kept while the ledger cannot be used: in the end there is no more memory for them than for the intents.
  private static let mostUnplanned = 200_000

  /// The timer: everything that is due.
  func tick(fullPass: Bool) {
    let isFull = fullPass || seconds() >= nextFullPass
    observe(fullPass: isFull)
    let now = WallClock.now()
    tendLedger(at: now, isThorough: isFull)
    if isFull || !knowsClock { tendClock() }
    // Begun while a disk was full, or another process had the hands.
    if isFull, !responder.isRecovered { tell(responder.recover(at: now), at: now) }
    if troubles[.queue] == nil {
      see(watcher.health(at: now))
      see(Observation(time: now, event: .counts(watcher.counts)))
      flow.sample(watcher.counts, at: now)
      plan(at: now)
      reconsiderBlocks(at: now)
      remember(detector.storms, at: now)
      draw(detector.storms, at: now)
    }
    // What runs out does so not by a clock that the ledger knows nothing of.
    if knowsClock, troubles[.queue] == nil {
      lastWork = seconds()
      if let progress = responder.tendAll(at: now) { take(progress, at: now) }
    } else if knowsClock {
      tell(responder.tendBlocks(at: now), at: now)
      tell(responder.expireQuarantine(at: now), at: now)
    } else {
      work()
    }
    saveLogPosition(at: now)
    history.tend(at: now)
    attend(at: now)
    publish()
    schedule()
  }

  /// Takes in what changed in the queue and acts on it.
  func observe(fullPass: Bool) {
    let begun = WallClock.monotonic()
    let now = WallClock.now()
    if let shift = clock.shift() { clockWasSet(by: shift, at: now) }
    if fullPass {
      nextFullPass = seconds() + policy.polling.fullPass.inSeconds
      // What a busy minute has freed, or it would look like growth for ever.
      FreedMemory.giveBack()
    }
    if fullPass, log.retry(at: now) { awaitLog() }
    do {
      var events = catchUp()
      var found: PollReport
      do { found = try watcher.poll(at: now, fullPass: fullPass, atMost: Self.atOnce) } catch {
        act(on: events + take(readLog(at: now)), at: now)
        throw error
      }
      // The queue first, since messages live for milliseconds; and again for what came while the log was read, so that of every
      // line the queue's part of the story is there before the line is told.
      let written = readLog(at: WallClock.now())
      works(.queue)
      if !written.isEmpty {
        // What the first look found is told all the same.
        do {
          found.append(try watcher.poll(at: WallClock.now(), fullPass: false, atMost: 0))
        } catch { fails(.queue, "\(error)", at: now) }
      }
      tellOfDamaged(found.damaged, at: now)
      events += take(Chronicle.merge(queue: found.observations, log: written))
      look.new = found.statistics.new
      look.gone = found.statistics.gone
      look.opened = found.statistics.opened
      look.seen += found.statistics.new
      look.missed += found.statistics.missed
      let wasReading = moreIsThere
      moreIsThere = found.hasMore
      act(on: events, at: now)
      if wasReading, !moreIsThere { tellOfOlder(at: now) }
    } catch {
      fails(.queue, "\(error)", at: now)
    }
    look.seconds = Double(WallClock.monotonic() - begun) / 1e9
    lastLook = seconds()
  }

  /// At the end of the first look at a large queue.
  private func tellOfOlder(at now: Timestamp) {
    for (incident, count) in detector.older.sorted(by: { $0.key < $1.key }) {
      note(
        "incident \(incident): \(count) older messages like its own wait in the queue and are left there; 'qwarden list' shows them, and 'qwarden quarantine' with the same conditions sets them aside",
        at: now)
    }
  }

  /// Hands what was seen to the detector, our own doing left out. Without the ledger it goes on with what is known of that.
  func take(_ observations: [Observation]) -> [StormEvent] {
    guard let last = observations.last else { return [] }
    // What a command takes out is copied in the ledger before its first mark, and so before the mark can be among these observations.
    let touched = observations.reduce(into: Set<UInt64>()) { ids, observation in
      switch observation.event {
      case .departure(let id): ids.insert(id)
      case .progress(let progress) where progress.isBouncing || detector.regards(progress.id):
        ids.insert(progress.id)
      default: break
      }
    }
    if let taken = try? ledger.taken(ids: touched) {
      for record in taken where record.incident == nil {
        disregard(record.identity, at: observations[0].time)
      }
      responder.note(touched: taken)
    }
    let injected = Set(observations.compactMap { injectedHere($0, before: last.time) })
    let released = (try? ledger.released(by: injected, since: last.time - .seconds(86_400))) ?? []
    var events: [StormEvent] = []
    var finished: [FinishedDelivery] = []
    for observation in observations {
      if case .log(let line) = observation.event, let delivery = late.take(line) {
        finished.append(delivery)
      }
      log.count(observation)
      flow.take(observation, isLogged: log.isFollowed)
      guard !isReleased(observation, released) else { continue }
      history.add(observation)
      events += detector.observe(observation)
    }
    tell(responder.noteFinished(finished, at: last.time), at: last.time)
    flow.take(detector.outcomes, unseen: log.coverage?.logOnly ?? 0)
    return events
  }

  /// What a release put back is our own doing and no evidence: its qmail-queue is in the ledger.
  func isReleased(_ observation: Observation, _ pids: Set<Int32>) -> Bool {
    if case .log(let line) = observation.event { return log.isRelease(line) }
    guard !pids.isEmpty, let pid = injectedHere(observation, before: observation.time),
      pids.contains(pid), case .arrival(let entry) = observation.event
    else { return false }
    log.noteRelease(entry)
    return true
  }

  /// The qmail-queue of a message that came from this machine in the day before `now`.
  private func injectedHere(_ observation: Observation, before now: Timestamp) -> Int32? {
    guard case .arrival(let entry) = observation.event, case .uid = entry.source,
      now.seconds(since: entry.identity.birth) < 86_400
    else { return nil }
    return entry.queuedBy.flatMap { Int32(exactly: $0) }
  }

  /// What becomes of this message is our own doing, and no evidence.
  func disregard(_ identity: EntryIdentity, at now: Timestamp) {
    guard detector.disregard(identity) else { return }
    history.add(Observation(time: now, event: .takenOut(identity)))
  }

  func see(_ observation: Observation) {
    // Of a queue that is still being looked at for the first time, what has been found so far is no growth.
    if case .counts = observation.event, moreIsThere { return }
    if case .health(let health) = observation.event { senderIsRunning = health.senderIsRunning }
    history.add(observation)
    act(on: detector.observe(observation), at: observation.time)
  }

  /// Tells of storm events and does what they call for.
  func act(on events: [StormEvent], at now: Timestamp) {
    guard !events.isEmpty else { return }
    for event in events {
      switch event {
      case .began(let storm), .changed(let storm):
        if event.isBeginning { metrics.count(storm.kind) }
        tell(
          Event(
            event.isBeginning ? .stormBegan : .stormChanged, of: storm, mode: policy.mode, at: now))
      case .ended(let storm):
        draw([storm], at: now, isLast: true)
        told.remove(storm.incident)
        let kept = (try? ledger.keptCount(incident: storm.incident)) ?? 0
        tell(Event(endOf: storm, setAside: kept, mode: policy.mode, at: now))
      case .joined: break
      }
    }
    unplanned += events
    if unplanned.count > Self.mostUnplanned {
      unplanned.removeFirst(unplanned.count - Self.mostUnplanned)
    }
    plan(at: now)
  }

  /// Plans and performs what storm events call for. While the ledger cannot be used they wait: nothing is done that is not written down.
  func plan(at now: Timestamp) {
    guard !unplanned.isEmpty else { return }
    do {
      var context = try responder.context(
        at: now, storms: detector.storms, queueMessages: watcher.counts.messages)
      try ledger.record(unplanned.compactMap(\.storm))
      var planned: [PlannedAction] = []
      for event in unplanned {
        switch event {
        case .began(let storm), .changed(let storm):
          context.storms[storm.incident] = storm
          planned += ResponsePlanner.plan(event, policy: policy, context: context)
        case .ended: break
        case .joined(let incident, let identity):
          let entry = policy.protect == Policy.Protection() ? nil : read(identity)
          let actions = ResponsePlanner.plan(event, policy: policy, context: context, entry: entry)
          if actions.contains(where: { $0.decision == .perform }) {
            context.quarantined[incident, default: 0] += 1
          }
          planned += actions
        }
      }
      unplanned = []
      tell(responder.perform(planned, at: now), at: now)
      progress.hasMore =
        progress.hasMore
        || planned.contains { action in
          if case .quarantine = action.action { action.decision == .perform } else { false }
        }
    } catch {
      fails(.ledger, "\(error)", at: now)
    }
  }

  func read(_ identity: EntryIdentity) -> Entry? {
    if case .entry(let entry) = reader.read(identity.id), entry.identity == identity {
      entry
    } else {
      nil
    }
  }

  /// Evidence grows while a storm goes on, and caps free up: what was held back at its begin may be right now.
  func reconsiderBlocks(at now: Timestamp) {
    guard !detector.storms.isEmpty else { return }
    do {
      let context = try responder.context(
        at: now, storms: detector.storms, queueMessages: watcher.counts.messages)
      let planned = detector.storms.flatMap {
        ResponsePlanner.blocks(for: $0, policy: policy, context: context)
      }
      tell(responder.perform(planned, at: now), at: now)
    } catch {
      fails(.ledger, "\(error)", at: now)
    }
  }

  /// A bounded piece of work on the quarantine.
  func work() {
    guard troubles[.queue] == nil else { return }
    let now = WallClock.now()
    lastWork = seconds()
    take(responder.quarantineTick(at: now), at: now)
  }

  func take(_ done: QuarantineProgress, at now: Timestamp) {
    progress = done
    for case .quarantined(let record) in progress.outcomes { disregard(record.identity, at: now) }
    tell(progress.outcomes, at: now)
    if progress.waiting == 0 {
      for (incident, count) in untold { tellOfQuarantine(count, of: incident, at: now) }
      untold = [:]
      for (what, count) in untoldOrders { tellOfOrder(count, what, at: now) }
      untoldOrders = [:]
    }
  }

  /// Sets the timer to what the present state wants, and asks for more work soon where some is left.
  func schedule() {
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
      fresh.setEventHandler(handler: onQueue { $0.tick(fullPass: false) })
      fresh.activate()
      timer = fresh
    }
    let isUrgent = progress.hasMore || moreIsThere
    guard isUrgent || progress.waiting > 0, !workIsScheduled else { return }
    workIsScheduled = true
    after(isUrgent ? .milliseconds(1) : .milliseconds(100)) { watchdog in
      watchdog.workIsScheduled = false
      guard watchdog.onStop != nil else { return }
      if watchdog.moreIsThere { watchdog.observe(fullPass: false) }
      if watchdog.progress.hasMore || watchdog.progress.waiting > 0 { watchdog.work() }
      if watchdog.seconds() - watchdog.lastReport > Self.reportPause { watchdog.publish() }
      watchdog.schedule()
    }
  }
}

extension StormEvent {
  fileprivate var isBeginning: Bool { if case .began = self { true } else { false } }

  /// As it stands then.
  fileprivate var storm: Storm? {
    switch self {
    case .began(let storm), .changed(let storm), .ended(let storm): storm
    case .joined: nil
    }
  }
}
