import Synchronization

/// Matchers of one expression that nobody uses at the moment: what one text taught them saves work on the next.
final class MatcherPool: Sendable {
  private let program: [RegularExpression.Instruction]
  private let idle = Mutex<[RegexMatcher]>([])

  init(_ program: [RegularExpression.Instruction]) { self.program = program }

  func take() -> RegexMatcher { idle.withLock { $0.popLast() } ?? RegexMatcher(program) }

  func giveBack(_ matcher: consuming RegexMatcher) {
    let matcher = matcher
    idle.withLock { if $0.count < 4 { $0.append(matcher) } }
  }
}

/// One search of an expression through a text that comes in pieces.
struct RegexSearch: ~Copyable {
  private let pool: MatcherPool
  private var matcher: RegexMatcher
  private var state: Int

  init(_ pool: MatcherPool) {
    self.pool = pool
    matcher = pool.take()
    state = matcher.begin()
  }

  deinit { pool.giveBack(matcher) }

  /// Goes on with the next piece.
  /// - Returns: true as soon as the expression has been found; no more need be given then.
  mutating func take(_ piece: Span<UInt8>) -> Bool { matcher.run(piece, &state) }

  /// - Returns: whether it is found given that the text ends here.
  mutating func finish() -> Bool { matcher.matchesAtEnd(state) }
}

/// The lazily built deterministic automaton of one expression; where a text makes more of its states than it uses, the
/// non-deterministic one goes on from there.
struct RegexMatcher: Sendable {
  private static let cacheLimit = 1000
  /// A state must have served so many bytes on average, or making it does not pay.
  private static let payingBytes = 1000
  /// The state that stands for the set in `wide`.
  private static let inWide = -1
  private let program: [RegularExpression.Instruction]
  /// For each deterministic state its automaton states, and whether one of them is the match.
  private var sets: [[Int32]] = []
  private var accepting: [Bool] = []
  private var numbers: [[Int32]: Int] = [:]
  /// 256 successors a state: the state's number times 256, -1 where not yet known, and -2 for a state that matches.
  private var next: [Int32] = []
  private var wide: WideAutomaton?
  /// Bytes seen since the states were thrown away last.
  private var bytesSeen = 0
  private var marks: [UInt32]
  private var mark: UInt32 = 0

  init(_ program: [RegularExpression.Instruction]) {
    self.program = program
    marks = [UInt32](repeating: 0, count: program.count)
  }

  /// The state before the first byte of a text.
  mutating func begin() -> Int {
    let first = closure(of: [0], atStart: true)
    guard wide != nil, !isMatch(first) else { return number(of: first) }
    wide?.begin(first, program)
    return Self.inWide
  }

  mutating func run(_ text: Span<UInt8>, _ state: inout Int) -> Bool {
    if state == Self.inWide { return wide?.run(text) ?? false }
    if accepting[state] { return true }
    var at = 0
    while at < text.count {
      let before = at
      if runKnown(text, &at, &state) { return true }
      bytesSeen += at - before
      if at == text.count { return false }
      if sets.count >= Self.cacheLimit {
        if bytesSeen < Self.cacheLimit * Self.payingBytes {
          goWide(from: &state)
          return wide?.run(text.extracting(at...)) ?? false
        }
        state = forgetAll(but: state)
      }
      state = learn(state, text[at])
      at += 1
      if accepting[state] { return true }
    }
    return false
  }

  /// Walks the known part of the automaton, in a tight loop, up to a byte whose successor is not known; true for a match.
  private func runKnown(_ text: Span<UInt8>, _ at: inout Int, _ state: inout Int) -> Bool {
    let rows = next.span
    var row = state * 256
    var place = at
    var successor: Int32 = 0
    while place < text.count {
      successor = rows[row + Int(text[place])]
      if successor < 0 { break }
      row = Int(successor)
      place += 1
    }
    at = place
    state = row / 256
    return successor == -2
  }

  mutating func matchesAtEnd(_ state: Int) -> Bool {
    let set = state == Self.inWide ? wide?.set(program) ?? [] : sets[state]
    if isMatch(set) { return true }
    var seen = Set<Int>()
    var stack = set.map(Int.init)
    while let at = stack.popLast() {
      guard seen.insert(at).inserted else { continue }
      switch program[at] {
      case .match: return true
      case .atEnd: stack.append(at + 1)
      case .jump(let target): stack.append(target)
      case .split(let a, let b): stack += [a, b]
      case .atStart, .bytes: break
      }
    }
    return false
  }

  /// Finds a state's successor for a byte and remembers it.
  private mutating func learn(_ state: Int, _ byte: UInt8) -> Int {
    // A search may begin at every byte, hence state 0 always.
    var seeds: [Int] = [0]
    for at in sets[state] {
      if case .bytes(let accepted) = program[Int(at)], accepted.contains(byte) {
        seeds.append(Int(at) + 1)
      }
    }
    let successor = number(of: closure(of: seeds, atStart: false))
    next[state * 256 + Int(byte)] = accepting[successor] ? -2 : Int32(successor * 256)
    return successor
  }

  private mutating func forgetAll(but state: Int) -> Int {
    let set = sets[state]
    sets.removeAll(keepingCapacity: true)
    accepting.removeAll(keepingCapacity: true)
    numbers.removeAll(keepingCapacity: true)
    next.removeAll(keepingCapacity: true)
    bytesSeen = 0
    return number(of: set)
  }

  private mutating func goWide(from state: inout Int) {
    if wide == nil {
      var maker = self
      wide = WideAutomaton(program) { maker.closure(of: [$0], atStart: false) }
    }
    wide?.begin(sets[state], program)
    state = Self.inWide
  }

  private func isMatch(_ set: [Int32]) -> Bool {
    set.contains { if case .match = program[Int($0)] { true } else { false } }
  }

  private mutating func number(of set: [Int32]) -> Int {
    if let known = numbers[set] { return known }
    let number = sets.count
    numbers[set] = number
    sets.append(set)
    accepting.append(isMatch(set))
    next.append(contentsOf: repeatElement(-1, count: 256))
    return number
  }

  private mutating func closure(of seeds: [Int], atStart: Bool) -> [Int32] {
    mark &+= 1
    if mark == 0 {
      for index in marks.indices { marks[index] = 0 }
      mark = 1
    }
    var stack = seeds
    var set: [Int32] = []
    while let at = stack.popLast() {
      if marks[at] == mark { continue }
      marks[at] = mark
      switch program[at] {
      case .jump(let target): stack.append(target)
      case .split(let a, let b):
        stack.append(a)
        stack.append(b)
      case .atStart: if atStart { stack.append(at + 1) }
      case .atEnd, .bytes, .match: set.append(Int32(at))
      }
    }
    set.sort()
    return set
  }
}
