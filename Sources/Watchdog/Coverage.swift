import Mail

/// Counts which messages the queue showed, which the log told of, and which both did: each alone misses some.
///
/// A message is known in both by its ID and the process that queued it (`qp` in the log, the first `Received:` line in the queue); where
/// one of them lacks that, by its ID within five seconds. What has no partner after ``patience`` was seen by one only.
struct Coverage: Sendable {
  private(set) var both = 0
  private(set) var queueOnly = 0
  private(set) var logOnly = 0

  /// A journal may be late by seconds, a watcher's full pass by a minute.
  static let patience = Duration.seconds(90)
  /// More waiting than this are settled early.
  static let capacity = 65_536

  private enum Side { case queue, log }
  private struct Sight {
    var side: Side
    var pid: Int?
    var time: Timestamp
  }
  private struct Turn {
    var id: UInt64
    var time: Timestamp
  }
  /// Seen once so far. An ID is used again at once, so it may stand here for several.
  private var waiting: [UInt64: [Sight]] = [:]
  private var order: [Turn] = []
  private var settled = 0
  /// Messages of before are not counted: the log is read from here on.
  private var begin: Timestamp

  init(since begin: Timestamp) { self.begin = begin }

  mutating func take(_ observation: Observation) {
    switch observation.event {
    case .arrival(let entry):
      see(.queue, entry.identity.id, entry.queuedBy, entry.identity.birth)
    case .log(.info(let id, _, _, let pid, _)):
      see(.log, id, pid, observation.time)
    default: return
    }
    settle(at: observation.time)
  }

  /// Gives up on partners that are overdue.
  mutating func settle(at now: Timestamp) {
    while settled < order.count,
      order.count - settled > Self.capacity || now > order[settled].time + Self.patience
    {
      let turn = order[settled]
      settled += 1
      guard var sights = waiting[turn.id],
        let place = sights.firstIndex(where: { $0.time <= turn.time })
      else { continue }
      switch sights.remove(at: place).side {
      case .queue: queueOnly += 1
      case .log: logOnly += 1
      }
      waiting[turn.id] = sights.isEmpty ? nil : sights
    }
    if settled > 4096, settled * 2 > order.count {
      order.removeFirst(settled)
      settled = 0
    }
  }

  /// The counts stay; what waits is given up.
  mutating func clockWasSet(at now: Timestamp) {
    waiting = [:]
    order = []
    settled = 0
    begin = now
  }

  private mutating func see(_ side: Side, _ id: UInt64, _ pid: Int?, _ time: Timestamp) {
    guard time >= begin else { return }
    var sights = waiting[id] ?? []
    let partner = sights.firstIndex { other in
      guard other.side != side else { return false }
      if let pid, let known = other.pid { return pid == known }
      return abs(other.time.seconds(since: time)) <= 5
    }
    if let partner {
      sights.remove(at: partner)
      both += 1
      waiting[id] = sights.isEmpty ? nil : sights
    } else {
      waiting[id] = sights + [Sight(side: side, pid: pid, time: time)]
      order.append(Turn(id: id, time: time))
    }
  }
}
