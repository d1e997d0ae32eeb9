import Mail

/// The keys that weigh most lately, in fixed memory: Space-Saving (Metwally, Agrawal, El Abbadi 2005) over weights that halve
/// every `halfLife`.
///
/// With capacity c and total decayed weight W, a key heavier than W/c is always held, and the weight of a held key is too high
/// by at most W/c. The value of a key begins afresh when the key comes in, so counts kept in it are never too high.
struct HeavyHitters<Key: Hashable & Sendable, Value: Sendable>: Sendable {
  private var keys: [Key] = []
  private var values: [Value] = []
  /// Weights in units that grow with time, so that decaying all of them costs nothing and the heap stays valid.
  private var weights: [Double] = []
  private var slots: [Key: Int] = [:]
  /// A min-heap of slots by weight, and where each slot stands in it.
  private var heap: [Int] = []
  private var places: [Int] = []
  private var epoch: Timestamp?
  private let capacity: Int
  private let halfLife: Double

  init(capacity: Int, halfLife: Duration = .seconds(600)) {
    self.capacity = max(1, capacity)
    self.halfLife = max(1, halfLife.inSeconds)
  }

  /// Takes the memory of all its keys at once, so that a crowd of them does not make the program larger.
  /// - Parameter sample: any; nothing is kept of it.
  init(taking capacity: Int, like sample: (key: Key, value: Value)) {
    self.init(capacity: capacity)
    // Memory is a program's once it is written to.
    keys = Array(repeating: sample.key, count: capacity)
    values = Array(repeating: sample.value, count: capacity)
    weights = Array(repeating: 0, count: capacity)
    heap = Array(repeating: 0, count: capacity)
    places = Array(repeating: 0, count: capacity)
    slots.reserveCapacity(capacity)
    empty()
  }

  /// An empty one of the same kind, with as much memory.
  init(like other: HeavyHitters) {
    self = other
    empty()
  }

  private mutating func empty() {
    keys.removeAll(keepingCapacity: true)
    values.removeAll(keepingCapacity: true)
    weights.removeAll(keepingCapacity: true)
    heap.removeAll(keepingCapacity: true)
    places.removeAll(keepingCapacity: true)
    slots.removeAll(keepingCapacity: true)
    epoch = nil
  }

  var count: Int { keys.count }
  /// Keys there is memory for.
  var room: Int { values.capacity }

  func slot(of key: Key) -> Int? { slots[key] }
  func key(at slot: Int) -> Key { keys[slot] }

  subscript(slot: Int) -> Value {
    _read { yield values[slot] }
    _modify { yield &values[slot] }
  }

  /// Adds weight to a key, making room by dropping the lightest, and returns its slot (valid until the next call).
  mutating func add(
    _ key: Key, weight: Double = 1, at time: Timestamp, new: @autoclosure () -> Value
  ) -> Int {
    let unit = unit(at: time)
    if let slot = slots[key] {
      weights[slot] += weight * unit
      sink(places[slot])
      return slot
    }
    if keys.count < capacity {
      let slot = keys.count
      keys.append(key)
      values.append(new())
      weights.append(weight * unit)
      places.append(heap.count)
      heap.append(slot)
      slots[key] = slot
      rise(places[slot])
      return slot
    }
    let slot = heap[0]
    slots[keys[slot]] = nil
    slots[key] = slot
    keys[slot] = key
    values[slot] = new()
    weights[slot] += weight * unit
    sink(0)
    return slot
  }

  /// Decayed weight of a key; 0 for one not held.
  func weight(of key: Key, at time: Timestamp) -> Double {
    guard let slot = slots[key], let epoch else { return 0 }
    return weights[slot] / scale(time, epoch)
  }

  /// The heaviest keys first, with their decayed weights.
  func heaviest(_ limit: Int, at time: Timestamp) -> [(key: Key, weight: Double)] {
    guard let epoch else { return [] }
    let unit = scale(time, epoch)
    return keys.indices.sorted { weights[$0] > weights[$1] }.prefix(limit)
      .map { (keys[$0], weights[$0] / unit) }
  }

  private func scale(_ time: Timestamp, _ epoch: Timestamp) -> Double {
    exp2Approximation(time.seconds(since: epoch) / halfLife)
  }

  private mutating func unit(at time: Timestamp) -> Double {
    guard let start = epoch else {
      epoch = time
      return 1
    }
    let halvings = time.seconds(since: start) / halfLife
    if halvings > 500 {
      // Long before doubles overflow: forget what has decayed to nothing and count from now on.
      let shrink = exp2Approximation(-min(halvings, 1000))
      for slot in weights.indices { weights[slot] *= shrink }
      epoch = time
      return 1
    }
    return exp2Approximation(halvings)
  }

  private mutating func swapPlaces(_ a: Int, _ b: Int) {
    heap.swapAt(a, b)
    places[heap[a]] = a
    places[heap[b]] = b
  }

  private mutating func rise(_ start: Int) {
    var at = start
    while at > 0 {
      let parent = (at - 1) / 2
      if weights[heap[parent]] <= weights[heap[at]] { return }
      swapPlaces(at, parent)
      at = parent
    }
  }

  private mutating func sink(_ start: Int) {
    var at = start
    while true {
      let left = 2 * at + 1
      guard left < heap.count else { return }
      let right = left + 1
      let child =
        right < heap.count && weights[heap[right]] < weights[heap[left]] ? right : left
      if weights[heap[at]] <= weights[heap[child]] { return }
      swapPlaces(at, child)
      at = child
    }
  }
}

/// 2 to the power x: exact in its whole part, within 0.1 % in its fraction. Enough for decaying weights, and no libm.
func exp2Approximation(_ x: Double) -> Double {
  let bounded = min(max(x, -1020), 1020)
  let whole = bounded.rounded(.down)
  let f = bounded - whole
  let fraction = 1 + f * (0.695_976 + f * (0.224_94 + f * 0.079_084))
  return Double(sign: .plus, exponent: Int(whole), significand: 1) * fraction
}

/// Binary logarithm of a positive number, within 0.001: exact exponent, a short series for the significand.
func log2Approximation(_ x: Double) -> Double {
  guard x > 0 else { return -1020 }
  // ln(m) = 2 artanh((m-1)/(m+1)) for m in [1, 2).
  let s = (x.significand - 1) / (x.significand + 1)
  let s2 = s * s
  let ln = 2 * s * (1 + s2 * (1.0 / 3 + s2 * (1.0 / 5 + s2 * (1.0 / 7 + s2 / 9))))
  return Double(x.exponent) + ln * 1.442_695_040_888_963_4
}
