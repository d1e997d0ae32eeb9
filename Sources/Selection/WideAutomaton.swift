/// The non-deterministic automaton of one expression with its set of states as bits: for expressions and texts that would make too many
/// deterministic states, such as `/a.{200}b/` over a text full of `a`.
///
/// A step costs a few operations for every 64 instructions, plus work for those that are left in more than one way. Those that lead to
/// their neighbour only, as in counted repeats, all move in one shift.
struct WideAutomaton: Sendable {
  private static let chunkedItems = 512
  /// 64-bit words of a set.
  private let words: Int
  /// For each byte, the items that accept it.
  private var accepting: [UInt64]
  /// Items that lead to the next one and nowhere else.
  private var chain: [UInt64]
  /// For eight neighbouring items at a time, and each of the 256 choices of them, where they lead; for small automata only.
  private var chunks: [UInt64] = []
  /// Else for each item that is not of the chain.
  private var follow: [[UInt64]] = []
  /// Where a search may begin at any byte.
  private let start: [UInt64]
  private var matching: [UInt64]
  /// The set that has been reached, and room for the next.
  private var current: [UInt64]
  private var reached: [UInt64]

  /// - Parameters:
  ///   - items: of the program, those that sets consist of: its byte, end and match instructions.
  ///   - closure: of these items, those that an instruction leads to without a byte.
  init(_ program: [RegularExpression.Instruction], closure: (Int) -> [Int32]) {
    let items = program.indices.filter {
      switch program[$0] {
      case .bytes, .atEnd, .match: true
      case .split, .jump, .atStart: false
      }
    }
    let words = (items.count + 63) / 64
    var places = [Int](repeating: 0, count: program.count)
    for (place, item) in items.enumerated() { places[item] = place }
    func bits(_ set: [Int32]) -> [UInt64] {
      var bits = [UInt64](repeating: 0, count: words)
      for item in set { bits[places[Int(item)] / 64] |= 1 << UInt64(places[Int(item)] % 64) }
      return bits
    }
    self.words = words
    accepting = [UInt64](repeating: 0, count: 256 * words)
    chain = [UInt64](repeating: 0, count: words)
    matching = chain
    current = chain
    reached = chain
    start = bits(closure(0))
    follow = [[UInt64]](repeating: [], count: items.count)
    for (place, item) in items.enumerated() {
      let (word, bit) = (place / 64, UInt64(1) << UInt64(place % 64))
      switch program[item] {
      case .bytes(let set):
        for byte in 0..<256 where set.contains(UInt8(byte)) {
          accepting[byte * words + word] |= bit
        }
        let next = closure(item + 1)
        if next.count == 1, places[Int(next[0])] == place + 1 {
          chain[word] |= bit
        } else {
          follow[place] = bits(next)
        }
      case .match: matching[word] |= bit
      default: break
      }
    }
    if items.count <= Self.chunkedItems { makeChunks() }
  }

  private mutating func makeChunks() {
    let count = words * 8
    chunks = [UInt64](repeating: 0, count: count * 256 * words)
    for chunk in 0..<count {
      for choice in 1..<256 {
        // The choice without its highest item, which is known already, and that item.
        let high = 7 - UInt8(choice).leadingZeroBitCount
        let place = chunk * 8 + high
        let known = (chunk * 256 + choice - (1 << high)) * words
        let own = place < follow.count ? follow[place] : []
        for word in 0..<words {
          chunks[(chunk * 256 + choice) * words + word] =
            chunks[known + word] | (own.isEmpty ? 0 : own[word])
        }
      }
    }
    follow = []
  }

  /// Begins with the states of a deterministic set.
  mutating func begin(_ set: [Int32], _ program: [RegularExpression.Instruction]) {
    for word in current.indices { current[word] = 0 }
    var place = 0
    var next = set.makeIterator()
    var wanted = next.next()
    for item in program.indices {
      if let found = wanted, Int(found) == item {
        current[place / 64] |= 1 << UInt64(place % 64)
        wanted = next.next()
      }
      switch program[item] {
      case .bytes, .atEnd, .match: place += 1
      case .split, .jump, .atStart: break
      }
    }
  }

  /// Goes on with the next piece; true for a match.
  mutating func run(_ text: Span<UInt8>) -> Bool {
    for index in text.indices where step(text[index]) { return true }
    return false
  }

  private mutating func step(_ byte: UInt8) -> Bool {
    let row = Int(byte) * words
    var carry: UInt64 = 0
    for word in 0..<words {
      let shifted = current[word] & accepting[row + word] & chain[word]
      reached[word] = start[word] | shifted << 1 | carry
      carry = shifted >> 63
    }
    for word in 0..<words {
      let left = current[word] & accepting[row + word] & ~chain[word]
      if left != 0 { advance(word, left) }
    }
    swap(&current, &reached)
    for word in 0..<words where current[word] & matching[word] != 0 { return true }
    return false
  }

  /// Adds where the items `left` of a word lead.
  private mutating func advance(_ word: Int, _ left: UInt64) {
    if follow.isEmpty {
      let (words, table) = (words, chunks)
      let chunks = table.span
      var reached = reached.mutableSpan
      for part in 0..<8 {
        let choice = Int(left >> UInt64(part * 8) & 0xFF)
        if choice == 0 { continue }
        let row = ((word * 8 + part) * 256 + choice) * words
        for target in 0..<words {
          reached[unchecked: target] |= chunks[unchecked: row + target]
        }
      }
    } else {
      var left = left
      while left != 0 {
        let place = word * 64 + left.trailingZeroBitCount
        left &= left - 1
        for target in 0..<words { reached[target] |= follow[place][target] }
      }
    }
  }

  /// The set reached, as instructions.
  func set(_ program: [RegularExpression.Instruction]) -> [Int32] {
    var set: [Int32] = []
    var place = 0
    for item in program.indices {
      switch program[item] {
      case .bytes, .atEnd, .match:
        if current[place / 64] >> UInt64(place % 64) & 1 == 1 { set.append(Int32(item)) }
        place += 1
      case .split, .jump, .atStart: break
      }
    }
    return set
  }
}
