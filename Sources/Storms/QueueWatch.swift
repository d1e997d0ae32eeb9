import Mail

/// Whether the queue moves: todo, qmail-send and the room on its filesystem.
struct StallWatch: Sendable {
  var settings: DetectorSettings
  /// Since when todo has not shrunk, how much was in it then and was in it last.
  private var stuckSince: Timestamp?
  private var lastUnprocessed = 0
  private var downSince: Timestamp?
  private var shortOfRoom: String?

  init(_ settings: DetectorSettings) { self.settings = settings }

  /// qmail-send has taken a message in.
  mutating func moved() { stuckSince = nil }

  mutating func take(_ counts: QueueCounts, at time: Timestamp) {
    if counts.unprocessed < lastUnprocessed || counts.unprocessed == 0 {
      stuckSince = counts.unprocessed == 0 ? nil : time
    } else if stuckSince == nil {
      stuckSince = time
    }
    lastUnprocessed = counts.unprocessed
  }

  mutating func take(_ health: QueueHealth, at time: Timestamp) {
    switch health.senderIsRunning {
    case false?: downSince = downSince ?? time
    case true?: downSince = nil
    case nil: break
    }
    shortOfRoom =
      health.freeSpace < settings.minimumFree
      ? "the queue's filesystem is nearly full (\(percent(health.freeSpace)) free)"
      : health.freeInodes < settings.minimumFree
        ? "the queue's filesystem is nearly out of inodes (\(percent(health.freeInodes)) free)"
        : nil
  }

  /// What is wrong now and since when; nil when all is well.
  func trouble(at time: Timestamp) -> (since: Timestamp, what: String, waiting: Int)? {
    let patience = settings.stallAfter.inSeconds
    if let since = downSince, time.seconds(since: since) >= patience {
      return (since, "qmail-send is not running", lastUnprocessed)
    }
    if let since = stuckSince {
      let age = time.seconds(since: since)
      let isFull = lastUnprocessed >= settings.stalledMessages && age >= patience
      let isOld = lastUnprocessed >= 3 && age >= 5 * patience
      if isFull || isOld {
        return (
          since, "qmail-send takes no message in: \(lastUnprocessed) wait in todo", lastUnprocessed
        )
      }
    }
    return shortOfRoom.map { (time, $0, lastUnprocessed) }
  }

  private func percent(_ share: Double) -> String {
    "\(share > 0 && share < 1 ? Int((share * 100).rounded()) : 0) %"
  }
}

/// What one recipient domain does with everybody's mail, storms excluded.
struct DomainDeferrals: Sendable {
  var window: TallyWindow
  var senders: Spread

  init(_ settings: DetectorSettings) {
    window = TallyWindow(settings.window)
    senders = Spread(window: settings.window)
  }

  func isOutage(_ settings: DetectorSettings) -> Bool {
    let waiting = Int(window.sum.lingering)
    return waiting >= settings.surgeRecipients && senders.distinct >= 5 && senders.topShare <= 0.5
      && Int(window.sum.delivered) * 2 < waiting
  }
}

/// How the queue's length goes, a value a minute for a quarter of an hour.
struct BacklogWatch: Sendable {
  private var levels: [Int] = []
  private var minute = Int64.min
  private static let growth = 1000

  mutating func take(_ counts: QueueCounts, at time: Timestamp) {
    let now = time.nanoseconds / 60_000_000_000
    guard now != minute else { return }
    minute = now
    if levels.count >= 15 { levels.removeFirst() }
    levels.append(max(0, max(0, counts.messages) - max(0, counts.doneOnly ?? 0)))
  }

  /// The queue has at least doubled and grown by a thousand within the quarter: from and to, and in how many minutes.
  var growth: (from: Int, to: Int, minutes: Int)? {
    guard let last = levels.last, let least = levels.min(), levels.count >= 3,
      last - least >= Self.growth, last >= 2 * least, let place = levels.lastIndex(of: least)
    else { return nil }
    return (least, last, levels.count - 1 - place)
  }
}
