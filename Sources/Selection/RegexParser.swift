/// What a regular expression says, before it is an automaton.
indirect enum RegexTree: Sendable {
  case empty
  case bytes(ByteSet)
  case start
  case end
  case sequence([RegexTree])
  case either([RegexTree])
  case repeated(RegexTree, atLeast: Int, atMost: Int?)
}

/// Reads the text of a regular expression. Depth and size are bounded, so no pattern can exhaust the stack or memory.
struct RegexParser {
  private static let longest = 4096
  private static let deepest = 100
  private static let mostRepeats = 1000
  private let bytes: [UInt8]
  private let source: String
  private let ignoringCase: Bool
  private var at = 0
  private var depth = 0

  init(_ source: String, ignoringCase: Bool) {
    self.source = source
    bytes = Array(source.utf8)
    self.ignoringCase = ignoringCase
  }

  mutating func parse() throws(PatternError) -> RegexTree {
    if bytes.count > Self.longest { throw error("longer than \(Self.longest) bytes") }
    let tree = try alternatives()
    if at < bytes.count { throw error("an unmatched ')'") }
    return tree
  }

  private func error(_ what: String) -> PatternError {
    PatternError(pattern: source, column: at + 1, problem: what)
  }

  private mutating func alternatives() throws(PatternError) -> RegexTree {
    depth += 1
    defer { depth -= 1 }
    if depth > Self.deepest { throw error("parentheses nested over \(Self.deepest) deep") }
    var branches = [try sequence()]
    while at < bytes.count, bytes[at] == UInt8(ascii: "|") {
      at += 1
      branches.append(try sequence())
    }
    if branches.count == 1 { return branches[0] }
    // `a|b` is `[ab]`: one way to go on instead of several.
    var all = ByteSet()
    for branch in branches {
      guard case .bytes(let set) = branch else { return .either(branches) }
      all.formUnion(set)
    }
    return .bytes(all)
  }

  private mutating func sequence() throws(PatternError) -> RegexTree {
    var parts: [RegexTree] = []
    while at < bytes.count, bytes[at] != UInt8(ascii: "|"), bytes[at] != UInt8(ascii: ")") {
      parts.append(try repetition())
    }
    return parts.isEmpty ? .empty : parts.count == 1 ? parts[0] : .sequence(parts)
  }

  private mutating func repetition() throws(PatternError) -> RegexTree {
    var tree = try atom()
    while at < bytes.count {
      switch bytes[at] {
      case UInt8(ascii: "*"): tree = .repeated(tree, atLeast: 0, atMost: nil)
      case UInt8(ascii: "+"): tree = .repeated(tree, atLeast: 1, atMost: nil)
      case UInt8(ascii: "?"): tree = .repeated(tree, atLeast: 0, atMost: 1)
      case UInt8(ascii: "{"):
        guard let (low, high, end) = try counts() else { return tree }
        tree = .repeated(tree, atLeast: low, atMost: high)
        at = end
        continue
      default: return tree
      }
      at += 1
    }
    return tree
  }

  /// `{m}`, `{m,}` or `{m,n}` at `at`; nil when the brace stands for itself.
  private func counts() throws(PatternError) -> (Int, Int?, Int)? {
    guard let close = bytes[at...].firstIndex(of: UInt8(ascii: "}")), close - at <= 12 else {
      return nil
    }
    let inside = bytes[(at + 1)..<close]
    // Int() would take a sign too.
    guard inside.allSatisfy({ (48...57).contains($0) || $0 == UInt8(ascii: ",") }) else {
      return nil
    }
    let parts = inside.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
      .map { String(decoding: $0, as: UTF8.self) }
    guard (1...2).contains(parts.count), let low = Int(parts[0]) else { return nil }
    let high: Int? = parts.count == 1 ? low : Int(parts[1])
    if parts.count == 2, high == nil, !parts[1].isEmpty { return nil }
    if low > Self.mostRepeats || (high ?? 0) > Self.mostRepeats {
      throw error("a count over \(Self.mostRepeats)")
    }
    if let high, high < low { throw error("a count that ends before it begins") }
    return (low, high, close + 1)
  }

  private mutating func atom() throws(PatternError) -> RegexTree {
    let byte = bytes[at]
    switch byte {
    case UInt8(ascii: "("):
      at += 1
      if bytes[at...].starts(with: "?:".utf8) { at += 2 }
      let tree = try alternatives()
      guard at < bytes.count, bytes[at] == UInt8(ascii: ")") else { throw error("a missing ')'") }
      at += 1
      return tree
    case UInt8(ascii: "["): return .bytes(try bracket())
    case UInt8(ascii: "*"), UInt8(ascii: "+"), UInt8(ascii: "?"):
      throw error("'\(Character(Unicode.Scalar(byte)))' with nothing before it to repeat")
    case UInt8(ascii: "."):
      at += 1
      return .bytes(.all)
    case UInt8(ascii: "^"):
      at += 1
      return .start
    case UInt8(ascii: "$"):
      at += 1
      return .end
    case UInt8(ascii: "\\"): return .bytes(folded(try escape()))
    default:
      at += 1
      return .bytes(folded(ByteSet(CollectionOfOne(byte))))
    }
  }

  private func folded(_ set: ByteSet) -> ByteSet { ignoringCase ? set.ignoringCase : set }

  private mutating func escape() throws(PatternError) -> ByteSet {
    at += 1
    guard at < bytes.count else { throw error("a '\\' at the end") }
    let byte = bytes[at]
    at += 1
    switch byte {
    case UInt8(ascii: "d"): return .digits
    case UInt8(ascii: "D"): return ByteSet.digits.inverted
    case UInt8(ascii: "w"): return .word
    case UInt8(ascii: "W"): return ByteSet.word.inverted
    case UInt8(ascii: "s"): return .space
    case UInt8(ascii: "S"): return ByteSet.space.inverted
    case UInt8(ascii: "t"): return ByteSet(CollectionOfOne(9))
    case UInt8(ascii: "n"): return ByteSet(CollectionOfOne(10))
    case UInt8(ascii: "r"): return ByteSet(CollectionOfOne(13))
    case UInt8(ascii: "x"):
      guard at + 2 <= bytes.count,
        let value = UInt8(String(decoding: bytes[at..<(at + 2)], as: UTF8.self), radix: 16)
      else { throw error("two hexadecimal digits expected after '\\x'") }
      at += 2
      return ByteSet(CollectionOfOne(value))
    case 48...57, 65...90, 97...122:
      at -= 1
      throw error("'\\\(Character(Unicode.Scalar(byte)))' is not supported")
    default: return ByteSet(CollectionOfOne(byte))
    }
  }

  private mutating func bracket() throws(PatternError) -> ByteSet {
    at += 1
    let negated = at < bytes.count && bytes[at] == UInt8(ascii: "^")
    if negated { at += 1 }
    var set = ByteSet()
    var isFirst = true
    while true {
      guard at < bytes.count else { throw error("a missing ']'") }
      if bytes[at] == UInt8(ascii: "]"), !isFirst { break }
      isFirst = false
      if bytes[at...].starts(with: "[:".utf8) {
        throw error("named classes such as [:alpha:] are not supported")
      }
      if bytes[at] == UInt8(ascii: "\\") {
        set.formUnion(try escape())
        continue
      }
      let low = bytes[at]
      at += 1
      if at + 1 < bytes.count, bytes[at] == UInt8(ascii: "-"), bytes[at + 1] != UInt8(ascii: "]") {
        let high = bytes[at + 1]
        guard high >= low, high != UInt8(ascii: "\\") else {
          throw error("a range that ends before it begins")
        }
        at += 2
        set.formUnion(ByteSet(low...high))
      } else {
        set.insert(low)
      }
    }
    at += 1
    let full = folded(set)
    return negated ? full.inverted : full
  }
}

/// Makes the automaton. Counted repeats are written out, so the size is bounded.
struct RegexCompiler {
  private static let largest = 20_000
  private let source: String
  private var program: [RegularExpression.Instruction] = []

  init(_ source: String) { self.source = source }

  mutating func compile(_ tree: RegexTree) throws(PatternError) -> [RegularExpression.Instruction] {
    try emit(tree)
    program.append(.match)
    return program
  }

  private mutating func append(_ instruction: RegularExpression.Instruction) throws(PatternError) {
    program.append(instruction)
    if program.count > Self.largest {
      throw PatternError(pattern: source, column: 1, problem: "too large an expression")
    }
  }

  private mutating func emit(_ tree: RegexTree) throws(PatternError) {
    switch tree {
    case .empty: break
    case .bytes(let set): try append(.bytes(set))
    case .start: try append(.atStart)
    case .end: try append(.atEnd)
    case .sequence(let parts): for part in parts { try emit(part) }
    case .either(let branches):
      var jumps: [Int] = []
      for (index, branch) in branches.enumerated() {
        if index == branches.count - 1 {
          try emit(branch)
        } else {
          let split = program.count
          try append(.split(split + 1, 0))
          try emit(branch)
          jumps.append(program.count)
          try append(.jump(0))
          program[split] = .split(split + 1, program.count)
        }
      }
      for jump in jumps { program[jump] = .jump(program.count) }
    case .repeated(let inner, let low, let high):
      for _ in 0..<low {
        let before = program.count
        try emit(inner)
        // Nothing, however often: `(){1000}{1000}{1000}` would go on for days.
        if program.count == before { break }
      }
      if let high {
        var splits: [Int] = []
        for _ in low..<high {
          splits.append(program.count)
          try append(.split(program.count + 1, 0))
          try emit(inner)
        }
        for split in splits { program[split] = .split(split + 1, program.count) }
      } else {
        let split = program.count
        try append(.split(split + 1, 0))
        try emit(inner)
        try append(.jump(split))
        program[split] = .split(split + 1, program.count)
      }
    }
  }
}
