import Ledger
import Mail
import Policy
import QmailQueue
import Response
import Storms
import Systemd

// Faults: what stops working, what is done meanwhile, and that it is over.
extension Watchdog {
  func fails(_ kind: Troubles.Kind, _ why: String, at now: Timestamp) {
    guard troubles.fails(kind, why, at: now) else { return }
    let text = "\(kind.what): \(why)"
    let fields = [JournalField(.reason, text)]
    switch kind {
    case .queue:
      let path = "\(configuration.places.qmail)/queue"
      tell(Event(.queueUnreadable, at: now, .alert, text, [JournalField(.path, path)] + fields))
    case .blocking: tell(Event(.blockProblem, at: now, .error, text, about("block") + fields))
    case .quarantine:
      tell(Event(.quarantineProblem, at: now, .error, text, about("quarantine") + fields))
    case .ledger: tell(Event(.degraded, at: now, .alert, text, fields))
    default: tell(Event(.degraded, at: now, .warning, text, fields))
    }
  }

  private func about(_ action: String) -> [JournalField] {
    [JournalField(.action, action), JournalField(.mode, policy.mode.rawValue)]
  }

  func works(_ kind: Troubles.Kind) { troubles.works(kind, at: seconds()) }

  private func set(_ kind: Troubles.Kind, _ why: String?, at now: Timestamp) {
    if let why { fails(kind, why, at: now) } else { works(kind) }
  }

  /// Asks everything that fails by itself how it stands, and tells what is over.
  func attend(at now: Timestamp) {
    awaitQueue()
    awaitQuestions()
    set(.events, watcher.blindSpot, at: now)
    if watcher.unreadable == 0 { works(.messages) }
    set(.history, history.trouble, at: now)
    set(.journal, sinks.lazy.compactMap { $0.tend() }.first, at: now)
    let failures = responder.failures
    for kind in [Troubles.Kind.blocking, .quarantine] {
      set(kind, failures.first { self.kind(of: $0) == kind }?.description, at: now)
    }
    for kind in troubles.ended(at: seconds(), calm: 2 * policy.polling.normal.inSeconds) {
      let fields = [JournalField(.reason, kind.whatAgain)]
      let id = kind == .queue ? MessageID.queueReadable : .restored
      let path =
        kind == .queue ? [JournalField(.path, "\(configuration.places.qmail)/queue")] : []
      tell(Event(id, at: now, .notice, kind.whatAgain, path + fields))
    }
  }

  /// Messages that cannot be read: the first few by number, of the rest how many.
  func tellOfDamaged(_ damaged: [PollReport.Damage], at now: Timestamp) {
    guard let first = damaged.first else { return }
    fails(
      .messages, "\(watcher.unreadable) of them, such as #\(first.id): \(first.why)", at: now)
  }

  // MARK: The ledger

  /// Finds out whether a ledger that failed works again. One that is damaged is set aside and a new one begun; of one that was moved
  /// away, what stands in its place is opened.
  func tendLedger(at now: Timestamp, isThorough: Bool) {
    if isThorough, ledger.failure == nil { try? ledger.check() }
    let failure = ledger.failure
    let isInPlace = ledger.isInPlace
    if isInPlace, failure == nil { return works(.ledger) }
    do throws(LedgerError) {
      if isInPlace, let failure, failure.kind != .damaged, failure.kind != .notDatabase {
        fails(.ledger, "\(failure)", at: now)
        try ledger.probe()
      } else {
        let why = failure.map { "\($0)" } ?? "\(ledger.path): it is not there any more"
        fails(.ledger, why, at: now)
        if let aside = try ledger.reopen(at: now) {
          damagedLedger = aside
          tellOfDamage(aside, at: now)
        }
        remembered = []
        pointed = [:]
        keptOf = [:]
        knowsClock = false
        tell(responder.recover(at: now), at: now)
      }
      works(.ledger)
    } catch {
      fails(.ledger, "\(error)", at: now)
    }
  }

  // MARK: The clock

  /// Everything that compares times begins anew, and what is to run out is moved with the clock.
  func clockWasSet(by shift: Duration, at now: Timestamp) {
    let text =
      "the clock was set \(shift.setting): what is to run out is moved with it, and counting begins anew"
    tell(degraded(text, at: now))
    detector.clockWasSet(by: shift, at: now)
    watcher.clockWasSet()
    history.clockWasSet(by: shift, at: now)
    troubles.clockWasSet(by: shift)
    log.clockWasSet(at: now)
    started = started + shift
    flow.clockWasSet(at: now)
    remembered = []
    pointed = [:]
    responder.clockWasSet()
    tendClock()
  }

  /// Moves what is to run out, as soon as the ledger can be used.
  func tendClock() {
    do throws(LedgerError) {
      try ledger.adopt(clock.reading)
      knowsClock = true
    } catch { knowsClock = false }
  }

  // MARK: The hands

  /// What a failure of the hands is a part of; nil: it is a fact by itself.
  func kind(of failure: Outcome.Failure) -> Troubles.Kind? {
    // Then nothing can be done, whatever it was to be.
    if failure.why.hasPrefix("\(ledger.path): ") { return .ledger }
    switch failure.action {
    case "write", "block", "unblock": return .blocking
    case "set aside", "watch", "expire", "recover": return .quarantine
    default: return nil
    }
  }
}
