import Files

/// How many messages make a lot: a large one costs less for each, but neither the poll nor the watchdog's ping may wait for it.
struct LotSize {
  private(set) var messages = Responder.smallestLot

  /// - Parameter nanoseconds: that a lot of `count` took.
  mutating func lasted(_ nanoseconds: Int64, _ count: Int) {
    if nanoseconds > 1_000_000_000 {
      messages = max(messages / 2, Responder.smallestLot)
    } else if count >= messages {
      let growth = nanoseconds < 100_000_000 ? 4 : nanoseconds < 500_000_000 ? 2 : 1
      messages = min(messages * growth, Responder.largestLot)
    }
  }

  /// Two batches are open at a time, each message with up to four descriptors; some for everything else.
  private static let largestBatch = max(Responder.smallestLot / 2, DescriptorLimit.raised / 10 - 50)

  /// The batches of a lot. The first is half as large: so the two threads wait for the disk at different times.
  static func batches(of count: Int) -> [Range<Int>] {
    let size = min(max(count / 4, Responder.smallestLot), largestBatch)
    var batches: [Range<Int>] = []
    var end = count <= size ? count : size / 2
    var start = 0
    while start < count {
      batches.append(start..<end)
      start = end
      end = min(start + size, count)
    }
    return batches
  }
}
