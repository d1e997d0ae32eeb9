/// A regular expression over bytes whose matching time grows with the length of the text only, never with its content.
///
/// Patterns meet hostile messages, so there is no backtracking: the expression becomes a non-deterministic automaton, and the
/// sets of its states that a text reaches become the states of a deterministic one, built while matching and thrown away when there are
/// too many. Syntax: `. [a-z] [^…] ( ) | * + ? {m,n} ^ $ \d \w \s \D \W \S \t \n \xHH` and `\` before anything else. `^` and `$` are the
/// text's beginning and end. Searches anywhere unless anchored.
public struct RegularExpression: Sendable {
  private let matchers: MatcherPool

  /// - Throws: `PatternError` naming the place in the pattern.
  public init(_ source: String, ignoringCase: Bool = false) throws(PatternError) {
    var parser = RegexParser(source, ignoringCase: ignoringCase)
    let tree = try parser.parse()
    var compiler = RegexCompiler(source)
    matchers = MatcherPool(try compiler.compile(tree))
  }

  /// Whether the expression occurs in `text`.
  public func matches(_ text: some Collection<UInt8>) -> Bool {
    if let found = text.withContiguousStorageIfAvailable({ matches($0.span) }) { return found }
    return matches(Array(text).span)
  }

  /// Whether the expression occurs in `text`.
  public func matches(_ text: Span<UInt8>) -> Bool {
    var search = search()
    return search.take(text) || search.finish()
  }

  /// A search in a text that comes in pieces.
  func search() -> RegexSearch { RegexSearch(matchers) }

  enum Instruction: Sendable {
    case bytes(ByteSet)
    case split(Int, Int)
    case jump(Int)
    case atStart
    case atEnd
    case match
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
