import Mail
import Storms

/// How much mail flows: totals since the start, and the last while of them beside the queue's length. A pure value, in fixed memory.
///
/// Outcomes are counted line by line from qmail-send's log. Without a log they are what the detector infers from the queue, and
/// deferrals are not known.
struct FlowMeter: Sendable {
  struct Totals: Sendable, Hashable {
    var arrived = 0
    var delivered = 0
    var failed = 0
    var deferred = 0
  }

  struct Sample: Sendable, Hashable {
    var time: Timestamp
    /// Messages that wait, and those that only have to leave.
    var waiting: Int
    var leaving: Int
    var unprocessed: Int
    var totals: Totals
  }

  /// Seconds between two samples, and how many are kept: an hour.
  static let step = 5.0
  static let capacity = 720

  private(set) var totals = Totals()
  private(set) var isLogged = false
  private(set) var samples: [Sample] = []
  private var inferred = OutcomeTotals()
  private var unseen = 0
  private var begin: Timestamp

  /// What happened before `begin` is not counted.
  init(since begin: Timestamp) { self.begin = begin }

  /// - Parameter isLogged: whether a log is followed just now.
  mutating func take(_ observation: Observation, isLogged: Bool) {
    self.isLogged = isLogged
    switch observation.event {
    case .arrival(let entry) where entry.identity.birth >= begin: totals.arrived += 1
    case .log(let line) where observation.time >= begin:
      switch line {
      case .outcome(_, .success, _): totals.delivered += 1
      case .outcome(_, .failure, _): totals.failed += 1
      case .outcome(_, .deferral, _): totals.deferred += 1
      default: break
      }
    default: break
    }
  }

  /// What the detector has seen finish by now, and how many messages only the log has told of.
  mutating func take(_ outcomes: OutcomeTotals, unseen: Int) {
    totals.arrived += unseen - self.unseen
    self.unseen = unseen
    if !isLogged {
      totals.delivered += outcomes.delivered - inferred.delivered
      totals.failed += outcomes.failed - inferred.failed
    }
    inferred = outcomes
  }

  /// Notes how the queue stands, every few seconds.
  mutating func sample(_ counts: QueueCounts, at now: Timestamp) {
    if let last = samples.last {
      let age = now.seconds(since: last.time)
      // A clock that was set back: what was noted before means nothing now.
      if age < 0 { samples = [] } else if age < Self.step * 0.9 { return }
    }
    if samples.count >= Self.capacity + Self.capacity / 8 {
      samples.removeFirst(samples.count - Self.capacity + 1)
    }
    samples.append(Self.sample(counts, totals, at: now))
  }

  /// What was noted by the old clock means nothing by the new one.
  mutating func clockWasSet(at now: Timestamp) {
    samples = []
    begin = now
  }

  /// Seconds between two samples as they were: the policy may have the queue looked at less often.
  var pace: Double {
    guard let first = samples.first, let last = samples.last, samples.count > 1 else {
      return Self.step
    }
    return last.time.seconds(since: first.time) / Double(samples.count - 1)
  }

  static func sample(_ counts: QueueCounts, _ totals: Totals, at now: Timestamp) -> Sample {
    let leaving = counts.doneOnly ?? 0
    return Sample(
      time: now, waiting: max(0, counts.messages - leaving), leaving: leaving,
      unprocessed: counts.unprocessed, totals: totals)
  }

  /// What happened in about the last so many seconds, and how many they really are; nil before the first sample.
  func recent(_ seconds: Double, at now: Timestamp) -> (totals: Totals, seconds: Double)? {
    guard
      let from = samples.last(where: { now.seconds(since: $0.time) >= seconds }) ?? samples.first,
      now.seconds(since: from.time) > 0.5
    else { return nil }
    return (
      Totals(
        arrived: totals.arrived - from.totals.arrived,
        delivered: totals.delivered - from.totals.delivered,
        failed: totals.failed - from.totals.failed,
        deferred: totals.deferred - from.totals.deferred),
      now.seconds(since: from.time)
    )
  }
}
