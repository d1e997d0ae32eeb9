import Mail
import QmailQueue

/// Puts what the queue showed and what the log told in the order in which it happened.
///
/// The queue's observations carry the time of looking, but an arrival has its birth: the lines written before it tell of the message that
/// had its number before. What is seen of a number's earlier message comes before the arrival of the next. So lines of the log go before an
/// arrival when they are older than its birth, and the order within each of the two stays.
enum Chronicle {
  static func merge(queue: [Observation], log: [Observation]) -> [Observation] {
    guard !log.isEmpty, !queue.isEmpty else { return queue + log }
    // The latest moment at which each of the queue's can have happened.
    var bounds = [Timestamp](repeating: Timestamp(nanoseconds: .max), count: queue.count)
    var bound = Timestamp(nanoseconds: .max)
    for place in queue.indices.reversed() {
      if case .arrival(let entry) = queue[place].event { bound = min(bound, entry.identity.birth) }
      bounds[place] = bound
    }
    var merged: [Observation] = []
    merged.reserveCapacity(queue.count + log.count)
    var next = 0
    for (place, observation) in queue.enumerated() {
      while next < log.count, log[next].time < bounds[place] {
        merged.append(log[next])
        next += 1
      }
      merged.append(observation)
    }
    return merged + log[next...]
  }
}

extension PollReport {
  /// Adds what a poll right after this one found.
  mutating func append(_ later: PollReport) {
    observations += later.observations
    damaged += later.damaged
    hasMore = hasMore || later.hasMore
    statistics.new += later.statistics.new
    statistics.gone += later.statistics.gone
    statistics.missed += later.statistics.missed
    statistics.opened += later.statistics.opened
    statistics.events += later.statistics.events
    statistics.seconds += later.statistics.seconds
  }
}
