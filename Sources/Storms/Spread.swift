import Mail

/// How many different things (domains, senders, clients) there are and whether one of them holds most, in fixed memory.
///
/// Up to 48 are known exactly; beyond, the heaviest are kept as in Space-Saving and the number of different ones is estimated by linear
/// counting (Whang 1990) over 1,024 bits, good to about 5 % up to 2,000. Where a window is given, what is older than it is forgotten.
struct Spread: Sendable {
  private struct Part: Sendable {
    var hashes: [UInt64] = []
    var counts: [UInt32] = []
    var bits: [UInt64] = []
    var total = 0

    mutating func add(_ hash: UInt64) {
      total += 1
      if !bits.isEmpty { mark(hash) }
      if let place = hashes.firstIndex(of: hash) {
        counts[place] &+= 1
      } else if hashes.count < 48 {
        hashes.append(hash)
        counts.append(1)
      } else {
        if bits.isEmpty {
          bits = Array(repeating: 0, count: 16)
          for known in hashes { mark(known) }
          mark(hash)
        }
        var lightest = 0
        for place in counts.indices where counts[place] < counts[lightest] { lightest = place }
        hashes[lightest] = hash
        counts[lightest] &+= 1
      }
    }

    /// The memory stays: it is wanted again at once.
    mutating func empty() {
      hashes.removeAll(keepingCapacity: true)
      counts.removeAll(keepingCapacity: true)
      (bits, total) = ([], 0)
    }

    private mutating func mark(_ hash: UInt64) {
      bits[Int(hash >> 6) & 15] |= 1 << (hash & 63)
    }
  }

  private var current = Part()
  private var previous = Part()
  private var began: Timestamp?
  private let half: Double?

  /// - Parameter window: nil remembers for ever.
  init(window: Duration? = nil) { half = window.map { $0.inSeconds } }

  mutating func add(_ hash: UInt64, at time: Timestamp) {
    advance(to: time)
    current.add(hash)
  }

  private mutating func advance(to time: Timestamp) {
    guard let start = began else {
      began = time
      return
    }
    guard let half, time.seconds(since: start) >= half else { return }
    turn(to: time, isStale: time.seconds(since: start) >= 2 * half)
  }

  /// Apart from what is asked for each thing counted.
  @inline(never)
  private mutating func turn(to time: Timestamp, isStale: Bool) {
    swap(&previous, &current)
    if isStale { previous.empty() }
    current.empty()
    began = time
  }

  /// Gives the memory of what the next count would forget back.
  mutating func rest(at time: Timestamp) {
    guard let began, let half, time.seconds(since: began) >= 2 * half else { return }
    (current, previous) = (Part(), Part())
  }

  /// Number of different things.
  var distinct: Int {
    if current.bits.isEmpty && previous.bits.isEmpty {
      return current.hashes.count + previous.hashes.count { !current.hashes.contains($0) }
    }
    var union = [UInt64](repeating: 0, count: 16)
    for part in [current, previous] {
      if part.bits.isEmpty {
        for hash in part.hashes { union[Int(hash >> 6) & 15] |= 1 << (hash & 63) }
      } else {
        for place in union.indices { union[place] |= part.bits[place] }
      }
    }
    let zeros = union.reduce(1024) { $0 - $1.nonzeroBitCount }
    guard zeros > 0 else { return 7000 }
    let estimate = Int(1024 * 0.693_147 * log2Approximation(1024 / Double(zeros)))
    return min(estimate, current.total + previous.total)
  }

  /// Share of the heaviest, 0…1; 0 when nothing was counted.
  var topShare: Double {
    let total = current.total + previous.total
    guard total > 0 else { return 0 }
    var top = 0
    for (place, hash) in current.hashes.enumerated() {
      let earlier = previous.hashes.firstIndex(of: hash).map { Int(previous.counts[$0]) } ?? 0
      top = max(top, Int(current.counts[place]) + earlier)
    }
    for count in previous.counts { top = max(top, Int(count)) }
    return min(1, Double(top) / Double(total))
  }
}

/// A 64-bit hash that is the same in every run (FNV-1a and a finalizer), so that replays give the same estimates. Used for
/// counting only: nobody is named by it.
enum StableHash {
  static func of(_ bytes: some Sequence<UInt8>) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
    hash = (hash ^ (hash >> 33)) &* 0xff51_afd7_ed55_8ccd
    hash = (hash ^ (hash >> 33)) &* 0xc4ce_b9fe_1a85_ec53
    return hash ^ (hash >> 33)
  }
}
