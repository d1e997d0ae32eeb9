import Mail

/// Counts of one window. Signed: a recipient that was counted as waiting and then leaves is taken away again.
struct Tally: Sendable, Hashable {
  var messages: Int32 = 0
  var recipients: Int32 = 0
  var failed: Int32 = 0
  var delivered: Int32 = 0
  var lingering: Int32 = 0
  /// Of those lingering: so long that no delivery attempt can still be under way.
  var stuck: Int32 = 0
  var listMarked: Int32 = 0
  /// Seen in the queue, so that its source is known; and from a client that is strange to the account.
  var seen: Int32 = 0
  var strange: Int32 = 0
  /// Seen, and to the same people as one of the last before it.
  var repeated: Int32 = 0

  static func += (a: inout Tally, b: Tally) {
    a.messages &+= b.messages
    a.recipients &+= b.recipients
    a.failed &+= b.failed
    a.delivered &+= b.delivered
    a.lingering &+= b.lingering
    a.stuck &+= b.stuck
    a.listMarked &+= b.listMarked
    a.seen &+= b.seen
    a.strange &+= b.strange
    a.repeated &+= b.repeated
  }

  static func -= (a: inout Tally, b: Tally) {
    a.messages &-= b.messages
    a.recipients &-= b.recipients
    a.failed &-= b.failed
    a.delivered &-= b.delivered
    a.lingering &-= b.lingering
    a.stuck &-= b.stuck
    a.listMarked &-= b.listMarked
    a.seen &-= b.seen
    a.strange &-= b.strange
    a.repeated &-= b.repeated
  }
}

/// A sliding window of ten buckets, in fixed memory. The sum is kept, so reading costs nothing.
struct TallyWindow: Sendable {
  private static let buckets = 10
  private(set) var ring: [Tally] = []
  /// Number of the newest bucket since 1970.
  private var newest = Int64.min
  private(set) var sum = Tally()
  private let bucketNanoseconds: Int64

  init(_ length: Duration) {
    bucketNanoseconds = max(1, length.wholeNanoseconds / Int64(Self.buckets))
  }

  /// Drops what is too old at `time`.
  mutating func advance(to time: Timestamp) {
    let bucket = time.nanoseconds / bucketNanoseconds
    guard newest != .min, bucket > newest else { return }
    if bucket - newest >= Int64(Self.buckets) {
      ring = []
      sum = Tally()
    } else if !ring.isEmpty {
      for number in (newest + 1)...bucket {
        let place = Self.place(number)
        sum -= ring[place]
        ring[place] = Tally()
      }
    }
    newest = bucket
  }

  /// Whether nothing of it has changed for as long as it is: the next count or ``advance(to:)`` begins it anew.
  func isSilent(at time: Timestamp) -> Bool {
    newest != .min && time.nanoseconds / bucketNanoseconds - newest >= Int64(Self.buckets)
  }

  /// Gives the memory of a silent window back. Nothing else can be told from it.
  mutating func rest() { ring = [] }

  /// Counts into the bucket of `time`; what is older than the window is left out.
  mutating func add(_ tally: Tally, at time: Timestamp) {
    let bucket = time.nanoseconds / bucketNanoseconds
    if newest == .min { newest = bucket }
    advance(to: time)
    guard newest - bucket < Int64(Self.buckets) else { return }
    if ring.isEmpty { ring = Array(repeating: Tally(), count: Self.buckets) }
    ring[Self.place(bucket)] += tally
    sum += tally
  }

  private static func place(_ bucket: Int64) -> Int {
    Int((bucket % Int64(buckets) + Int64(buckets)) % Int64(buckets))
  }
}
