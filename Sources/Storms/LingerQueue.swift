import Mail

/// Messages to look at again: a queue for each round, so that each stays in order of time without sorting.
struct LingerQueue: Sendable {
  /// Seconds from one look to the next; after the last nobody looks any more (36 s in all).
  private static let pauses: [Double] = [0.5, 0.5, 1, 2, 2, 4, 8, 16]
  private var rounds: [[(due: Timestamp, serial: Int)]] = Array(
    repeating: [], count: pauses.count + 1)
  private var heads = Array(repeating: 0, count: pauses.count + 1)

  /// More than this many waiting for their first look: the newest are not looked at.
  private static let limit = 65_536

  mutating func add(_ serial: Int, due: Timestamp) {
    guard rounds[0].count - heads[0] < Self.limit else { return }
    rounds[0].append((due, serial))
  }

  mutating func again(_ serial: Int, _ round: Int, at time: Timestamp) {
    guard round < Self.pauses.count, rounds[round + 1].count - heads[round + 1] < Self.limit
    else { return }
    let due = time + .milliseconds(Int64(Self.pauses[round] * 1000))
    rounds[round + 1].append((due, serial))
  }

  mutating func next(at time: Timestamp) -> (serial: Int, round: Int)? {
    for round in rounds.indices {
      let head = heads[round]
      guard head < rounds[round].count else { continue }
      let item = rounds[round][head]
      guard item.due <= time else { continue }
      heads[round] += 1
      if heads[round] == rounds[round].count {
        rounds[round].removeAll(keepingCapacity: head < 65_536)
        heads[round] = 0
      } else if heads[round] >= 4096 && heads[round] * 2 >= rounds[round].count {
        rounds[round].removeFirst(heads[round])
        heads[round] = 0
      }
      return (item.serial, round)
    }
    return nil
  }
}
