import Mail

/// A pattern that cannot be used: where and why.
public struct PatternError: Error, Sendable, Hashable, CustomStringConvertible {
  public var pattern: String
  /// 1-based byte position in the pattern.
  public var column: Int
  public var problem: String

  public var description: String {
    "pattern '\(Escaping.terminal(pattern))', position \(column): \(problem)"
  }
}

/// What an administrator types to pick mail: a literal (case-insensitive), a glob with `*`, or `/regex/` (`/regex/i` ignores case).
///
/// Takes time in proportion to the text, whatever the pattern and the text hold.
public struct Pattern: Sendable {
  private enum Form: Sendable {
    case literal([UInt8])
    case expression(RegularExpression)
  }
  private let form: Form

  public init(_ text: String) throws(PatternError) {
    if text.count >= 2, text.hasPrefix("/"), text.hasSuffix("/") || text.hasSuffix("/i"),
      text != "/i"
    {
      let ignoringCase = text.hasSuffix("i")
      form = .expression(
        try RegularExpression(
          String(text.dropFirst().dropLast(ignoringCase ? 2 : 1)), ignoringCase: ignoringCase))
    } else if text.contains("*") {
      let parts = text.split(separator: "*", omittingEmptySubsequences: false).map(Self.quoted)
      form = .expression(
        try RegularExpression("^" + parts.joined(separator: ".*") + "$", ignoringCase: true))
    } else {
      form = .literal(text.utf8.map { $0.asciiLowercased })
    }
  }

  private static func quoted(_ text: Substring) -> String {
    text.unicodeScalars.reduce(into: "") { out, scalar in
      if "\\.[](){}|*+?^$".unicodeScalars.contains(scalar) { out += "\\" }
      out.unicodeScalars.append(scalar)
    }
  }

  /// For addresses, users and other whole values: a literal must be the whole value.
  public func matchesWhole(_ value: some Collection<UInt8>) -> Bool {
    switch form {
    case .literal(let wanted):
      value.count == wanted.count
        && zip(value, wanted).allSatisfy { $0.asciiLowercased == $1 }
    case .expression(let expression): expression.matches(value)
    }
  }

  /// For text (subjects, header fields, bodies): a literal may stand anywhere in it.
  public func matchesWithin(_ text: some Collection<UInt8>) -> Bool {
    switch form {
    case .literal(let wanted): Self.contains(text.map { $0.asciiLowercased }, wanted)
    case .expression(let expression): expression.matches(text)
    }
  }

  /// Knuth, Morris and Pratt: linear whatever the text repeats.
  private static func contains(_ text: [UInt8], _ wanted: [UInt8]) -> Bool {
    guard !wanted.isEmpty else { return true }
    var failure = [Int](repeating: 0, count: wanted.count)
    var matched = 0
    for i in 1..<max(1, wanted.count) {
      while matched > 0, wanted[i] != wanted[matched] { matched = failure[matched - 1] }
      if wanted[i] == wanted[matched] { matched += 1 }
      failure[i] = matched
    }
    matched = 0
    for byte in text {
      while matched > 0, byte != wanted[matched] { matched = failure[matched - 1] }
      if byte == wanted[matched] { matched += 1 }
      if matched == wanted.count { return true }
    }
    return false
  }
}
