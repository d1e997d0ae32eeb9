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
/// Takes time in proportion to the text, whatever the pattern and the text hold. Literals and globs ignore the case of ASCII letters
/// anywhere, and of others in text that is UTF-8; expressions look at bytes.
public struct Pattern: Sendable {
  private enum Form: Sendable {
    case literal(LiteralSearch)
    case expression(RegularExpression)
  }
  private let form: Form
  /// The same pattern in lower case, where letters beyond ASCII make a difference.
  private let folded: Form?

  public init(_ text: String) throws(PatternError) {
    if text.count >= 2, text.hasPrefix("/"), text.hasSuffix("/") || text.hasSuffix("/i"),
      text != "/i"
    {
      let ignoringCase = text.hasSuffix("i")
      form = .expression(
        try RegularExpression(
          String(text.dropFirst().dropLast(ignoringCase ? 2 : 1)), ignoringCase: ignoringCase))
      folded = nil
    } else {
      form = try Self.plain(text)
      folded = text.utf8.allSatisfy { $0 < 0x80 } ? nil : try Self.plain(text.lowercased())
    }
  }

  /// The literal that stands for "nothing there".
  public var isEmptyLiteral: Bool {
    if case .literal(let search) = form { search.wanted.isEmpty } else { false }
  }

  private static func plain(_ text: String) throws(PatternError) -> Form {
    guard text.contains("*") else { return .literal(LiteralSearch(text.utf8)) }
    let parts = text.split(separator: "*", omittingEmptySubsequences: false).map(Self.quoted)
    return .expression(
      try RegularExpression("^" + parts.joined(separator: ".*") + "$", ignoringCase: true))
  }

  private static func quoted(_ text: Substring) -> String {
    text.unicodeScalars.reduce(into: "") { out, scalar in
      if "\\.[](){}|*+?^$".unicodeScalars.contains(scalar) { out += "\\" }
      out.unicodeScalars.append(scalar)
    }
  }

  /// For addresses, users and other whole values: a literal must be the whole value.
  public func matchesWhole(_ value: some Collection<UInt8>) -> Bool {
    either(value) { form, value in
      switch form {
      case .literal(let search):
        value.count == search.wanted.count
          && zip(value, search.wanted).allSatisfy { $0.asciiLowercased == $1 }
      case .expression(let expression): expression.matches(value.span)
      }
    }
  }

  /// For text (subjects, header fields): a literal may stand anywhere in it.
  public func matchesWithin(_ text: some Collection<UInt8>) -> Bool {
    either(text) { form, text in
      switch form {
      case .literal(let search):
        var matched = 0
        return search.take(text.span, &matched)
      case .expression(let expression): return expression.matches(text.span)
      }
    }
  }

  private func either(_ text: some Collection<UInt8>, _ test: (Form, [UInt8]) -> Bool) -> Bool {
    let text = Array(text)
    if test(form, text) { return true }
    guard let folded, text.contains(where: { $0 >= 0x80 }),
      let readable = String(validating: text, as: UTF8.self)
    else { return false }
    return test(folded, Array(readable.lowercased().utf8))
  }

  /// A search through a text that comes in pieces; a literal may stand anywhere, and only the case of ASCII letters is ignored.
  public func search() -> Search { Search(self) }

  /// See ``Pattern/search()``.
  public final class Search {
    private var expression: RegexSearch?
    private var literal: LiteralSearch?
    private var matched = 0
    public private(set) var isFound = false

    fileprivate init(_ pattern: Pattern) {
      switch pattern.form {
      case .literal(let search):
        literal = search
        expression = nil
      case .expression(let form):
        literal = nil
        expression = form.search()
      }
    }

    /// Goes on with the next piece of the text.
    public func take(_ piece: Span<UInt8>) {
      if isFound { return }
      if let literal { isFound = literal.take(piece, &matched) }
      if expression != nil, expression?.take(piece) == true { isFound = true }
    }

    /// The text ends here.
    public func finish() {
      if isFound { return }
      if let literal { isFound = literal.wanted.isEmpty }
      if expression?.finish() == true { isFound = true }
    }
  }
}
