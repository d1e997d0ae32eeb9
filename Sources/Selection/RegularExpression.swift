/// A regular expression over bytes whose matching time grows with the length of the text only, never with its content.
///
/// Patterns meet hostile messages, so there is no backtracking: the expression becomes a non-deterministic automaton, and the
/// sets of its states that a text reaches become the states of a deterministic one, built while matching and thrown away when there are
/// too many. Syntax: `. [a-z] [^…] ( ) | * + ? {m,n} ^ $ \d \w \s \D \W \S \t \n \xHH` and `\` before anything else. `^` and `$` are the
/// text's beginning and end. Searches anywhere unless anchored.
public struct RegularExpression: Sendable {
  private let program: [Instruction]
  private let source: String

  /// - Throws: `PatternError` naming the place in the pattern.
  public init(_ source: String, ignoringCase: Bool = false) throws(PatternError) {
    var parser = RegexParser(source, ignoringCase: ignoringCase)
    let tree = try parser.parse()
    var compiler = RegexCompiler(source)
    program = try compiler.compile(tree)
    self.source = source
  }

  /// Whether the expression occurs in `text`.
  public func matches(_ text: some Collection<UInt8>) -> Bool {
    var matcher = Matcher(program)
    return matcher.run(text)
  }

  enum Instruction: Sendable {
    case bytes(ByteSet)
    case split(Int, Int)
    case jump(Int)
    case atStart
    case atEnd
    case match
  }

  /// The lazily built deterministic automaton.
  private struct Matcher {
    private static let cacheLimit = 1000
    private let program: [Instruction]
    /// For each deterministic state its automaton states, and whether one of them is the match.
    private var sets: [[Int]] = []
    private var accepting: [Bool] = []
    private var numbers: [[Int]: Int] = [:]
    /// 256 successors a state; -1 where not yet known.
    private var next: [Int32] = []

    init(_ program: [Instruction]) { self.program = program }

    mutating func run(_ text: some Collection<UInt8>) -> Bool {
      var state = number(of: closure(of: [0], atStart: true))
      for byte in text {
        if accepting[state] { return true }
        let slot = state * 256 + Int(byte)
        if next[slot] >= 0 {
          state = Int(next[slot])
          continue
        }
        let reached = step(sets[state], byte)
        if sets.count >= Self.cacheLimit {
          sets.removeAll(keepingCapacity: true)
          accepting.removeAll(keepingCapacity: true)
          numbers.removeAll(keepingCapacity: true)
          next.removeAll(keepingCapacity: true)
          state = number(of: reached)
        } else {
          let successor = number(of: reached)
          next[slot] = Int32(successor)
          state = successor
        }
      }
      return accepting[state] || endReachesMatch(sets[state])
    }

    private mutating func number(of set: [Int]) -> Int {
      if let known = numbers[set] { return known }
      let number = sets.count
      numbers[set] = number
      sets.append(set)
      accepting.append(
        set.contains { if case .match = program[$0] { true } else { false } })
      next.append(contentsOf: repeatElement(-1, count: 256))
      return number
    }

    private func step(_ set: [Int], _ byte: UInt8) -> [Int] {
      // A search may begin at every byte, hence state 0 always.
      var seeds = [0]
      for at in set {
        if case .bytes(let accepted) = program[at], accepted.contains(byte) { seeds.append(at + 1) }
      }
      return closure(of: seeds, atStart: false)
    }

    private func closure(of seeds: [Int], atStart: Bool) -> [Int] {
      var seen = [Bool](repeating: false, count: program.count)
      var stack = seeds
      var set: [Int] = []
      while let at = stack.popLast() {
        if seen[at] { continue }
        seen[at] = true
        switch program[at] {
        case .jump(let target): stack.append(target)
        case .split(let a, let b):
          stack.append(a)
          stack.append(b)
        case .atStart: if atStart { stack.append(at + 1) }
        case .atEnd, .bytes, .match: set.append(at)
        }
      }
      return set.sorted()
    }

    private func endReachesMatch(_ set: [Int]) -> Bool {
      var seen = Set<Int>()
      var stack = set
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
  }
}

/// A set of bytes in 256 bits.
struct ByteSet: Sendable, Hashable {
  private var bits: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)

  init() {}
  init(_ bytes: some Sequence<UInt8>) { for byte in bytes { insert(byte) } }

  static let all = ByteSet(0...255)
  static let digits = ByteSet(48...57)
  static let word = ByteSet(
    Array(48...57) + Array(65...90) + Array(97...122) + [UInt8(ascii: "_")])
  static let space = ByteSet([9, 10, 11, 12, 13, 32])

  func contains(_ byte: UInt8) -> Bool {
    let word =
      switch byte >> 6 {
      case 0: bits.0
      case 1: bits.1
      case 2: bits.2
      default: bits.3
      }
    return word >> UInt64(byte & 63) & 1 == 1
  }

  mutating func insert(_ byte: UInt8) {
    let bit = UInt64(1) << UInt64(byte & 63)
    switch byte >> 6 {
    case 0: bits.0 |= bit
    case 1: bits.1 |= bit
    case 2: bits.2 |= bit
    default: bits.3 |= bit
    }
  }

  mutating func formUnion(_ other: ByteSet) {
    bits = (
      bits.0 | other.bits.0, bits.1 | other.bits.1, bits.2 | other.bits.2, bits.3 | other.bits.3
    )
  }

  var inverted: ByteSet {
    var result = ByteSet()
    result.bits = (~bits.0, ~bits.1, ~bits.2, ~bits.3)
    return result
  }

  /// With both cases of every ASCII letter in it.
  var ignoringCase: ByteSet {
    var result = self
    for letter in UInt8(65)...90 where contains(letter) || contains(letter | 32) {
      result.insert(letter)
      result.insert(letter | 32)
    }
    return result
  }

  static func == (a: ByteSet, b: ByteSet) -> Bool { a.bits == b.bits }
  func hash(into hasher: inout Hasher) {
    hasher.combine(bits.0)
    hasher.combine(bits.1)
    hasher.combine(bits.2)
    hasher.combine(bits.3)
  }
}
