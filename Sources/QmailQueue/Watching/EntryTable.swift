import Mail

/// What the watcher remembers of each message: 29 bytes in arrays of plain values, and an index of about 6 more.
///
/// Slots are dense: removing one moves the last into its place, so a slot is valid only until the next removal.
struct EntryTable: Sendable {
  struct State: OptionSet, Sendable {
    let rawValue: UInt8
    /// Not yet taken in by qmail-send.
    static let unprocessed = State(rawValue: 1)
    static let local = State(rawValue: 2)
    static let remote = State(rawValue: 4)
    static let bouncing = State(rawValue: 8)
    static let doneOnly = State(rawValue: 16)
  }

  private(set) var ids: [UInt64] = []
  private var births: [Int64] = []
  /// Low half of the inode number of `info/ID`, as its directory shows it; 0 in todo.
  private(set) var infoInodes: [UInt32] = []
  /// How far `bounce/ID` has been counted, and the failures counted.
  private var bounceOffsets: [UInt32] = []
  private var failures: [UInt32] = []
  private(set) var states: [State] = []
  /// Messages of each combination of states, so that counting costs nothing however many there are.
  private var tally = [Int](repeating: 0, count: 32)
  /// Of each part of the spread: messages that have been taken in.
  private var takenIn = [0]
  /// Parts of the queue's spread.
  var split: UInt64 = 1 {
    didSet {
      guard split != oldValue else { return }
      takenIn = Array(repeating: 0, count: Int(split))
      for slot in ids.indices { count(slot, 1) }
    }
  }
  /// Open addressing, linear probing: slot + 1, or 0.
  private var index: [UInt32] = []

  var count: Int { ids.count }

  /// Messages of a part of the spread that have been taken in.
  func taken(in part: Int) -> Int { takenIn[part] }

  private mutating func count(_ slot: Int, _ change: Int) {
    tally[Int(states[slot].rawValue)] += change
    if !states[slot].contains(.unprocessed) { takenIn[Int(ids[slot] % split)] += change }
  }

  mutating func reserve(_ wanted: Int) {
    guard wanted > ids.capacity else { return }
    // Growing by a quarter wastes less than doubling, on queues where memory matters.
    let capacity = max(wanted, ids.count + ids.count / 4, 64)
    ids.reserveCapacity(capacity)
    births.reserveCapacity(capacity)
    infoInodes.reserveCapacity(capacity)
    bounceOffsets.reserveCapacity(capacity)
    failures.reserveCapacity(capacity)
    states.reserveCapacity(capacity)
    index = Array(repeating: 0, count: capacity + capacity / 2)
    for slot in ids.indices { index[vacancy(for: ids[slot])] = UInt32(slot + 1) }
  }

  /// Gives up room that a queue grown small again does not need, beside that for `more` messages.
  /// - Returns: whether there was any.
  mutating func shrink(for more: Int) -> Bool {
    let wanted = max((count + more) * 2, 4096)
    guard ids.capacity > wanted * 2 else { return false }
    func fit<Value>(_ values: inout [Value]) {
      var fresh: [Value] = []
      fresh.reserveCapacity(wanted)
      fresh += values
      values = fresh
    }
    fit(&ids)
    fit(&births)
    fit(&infoInodes)
    fit(&bounceOffsets)
    fit(&failures)
    fit(&states)
    index = Array(repeating: 0, count: wanted + wanted / 2)
    for slot in ids.indices { index[vacancy(for: ids[slot])] = UInt32(slot + 1) }
    return true
  }

  func slot(of id: UInt64) -> Int? {
    guard !index.isEmpty else { return nil }
    var at = home(of: id)
    while index[at] != 0 {
      let slot = Int(index[at]) - 1
      if ids[slot] == id { return slot }
      at = at + 1 == index.count ? 0 : at + 1
    }
    return nil
  }

  func identity(_ slot: Int) -> EntryIdentity {
    EntryIdentity(id: ids[slot], birth: birth(slot))
  }

  /// How many messages have this state, among others.
  func count(_ state: State) -> Int {
    tally.indices.reduce(0) { $0 + (State(rawValue: UInt8($1)).contains(state) ? tally[$1] : 0) }
  }

  /// The numbers of the messages that have this state, among others.
  func ids(_ state: State) -> [UInt64] {
    count(state) == 0 ? [] : states.indices.filter { states[$0].contains(state) }.map { ids[$0] }
  }

  mutating func set(_ slot: Int, _ flag: State, to isOn: Bool) {
    count(slot, -1)
    if isOn { states[slot].insert(flag) } else { states[slot].remove(flag) }
    count(slot, 1)
  }

  func birth(_ slot: Int) -> Timestamp { Timestamp(nanoseconds: births[slot]) }

  /// - Precondition: `id` is not in the table.
  mutating func insert(_ identity: EntryIdentity, infoInode: UInt64, _ state: State) {
    if count == ids.capacity || count * 4 >= index.count * 3 { reserve(count + count / 4 + 64) }
    index[vacancy(for: identity.id)] = UInt32(count + 1)
    ids.append(identity.id)
    births.append(identity.birth.nanoseconds)
    infoInodes.append(UInt32(truncatingIfNeeded: infoInode))
    bounceOffsets.append(0)
    failures.append(0)
    states.append(state)
    count(count - 1, 1)
  }

  /// The message has been taken in: its lasting birth and info file.
  mutating func rename(_ slot: Int, birth: Timestamp, infoInode: UInt64) {
    births[slot] = birth.nanoseconds
    infoInodes[slot] = UInt32(truncatingIfNeeded: infoInode)
  }

  func bounce(_ slot: Int) -> (offset: Int, failures: Int) {
    (Int(bounceOffsets[slot]), Int(failures[slot]))
  }

  mutating func setBounce(_ slot: Int, offset: Int, failures failed: Int) {
    bounceOffsets[slot] = UInt32(clamping: offset)
    failures[slot] = UInt32(clamping: failed)
  }

  mutating func remove(_ slot: Int) {
    empty(place(of: ids[slot]))
    count(slot, -1)
    let last = count - 1
    if slot != last {
      index[place(of: ids[last])] = UInt32(slot + 1)
      ids[slot] = ids[last]
      births[slot] = births[last]
      infoInodes[slot] = infoInodes[last]
      bounceOffsets[slot] = bounceOffsets[last]
      failures[slot] = failures[last]
      states[slot] = states[last]
    }
    ids.removeLast()
    births.removeLast()
    infoInodes.removeLast()
    bounceOffsets.removeLast()
    failures.removeLast()
    states.removeLast()
  }

  private func home(of id: UInt64) -> Int {
    // Fibonacci hashing, then a multiplication in place of a remainder.
    let hash = id &* 0x9E37_79B9_7F4A_7C15
    return Int(hash.multipliedFullWidth(by: UInt64(index.count)).high)
  }

  private func vacancy(for id: UInt64) -> Int {
    var at = home(of: id)
    while index[at] != 0 { at = at + 1 == index.count ? 0 : at + 1 }
    return at
  }

  private func place(of id: UInt64) -> Int {
    var at = home(of: id)
    while index[at] == 0 || ids[Int(index[at]) - 1] != id {
      at = at + 1 == index.count ? 0 : at + 1
    }
    return at
  }

  /// Empties a place and closes the gap, so that no search ends too early (no tombstones).
  private mutating func empty(_ place: Int) {
    var gap = place
    var at = place
    while true {
      at = at + 1 == index.count ? 0 : at + 1
      if index[at] == 0 { break }
      let home = home(of: ids[Int(index[at]) - 1])
      // The entry may move into the gap only if its home is not between the gap and where it stands (cyclically).
      let distance = at >= home ? at - home : at - home + index.count
      let toGap = at >= gap ? at - gap : at - gap + index.count
      if distance >= toGap {
        index[gap] = index[at]
        gap = at
      }
    }
    index[gap] = 0
  }
}
