import Mail
import Yams

/// A place in a policy, both from 1; columns count Unicode scalars, as Yams counts them.
struct Place: Hashable, Comparable {
  var line: Int
  var column: Int

  init(line: Int, column: Int) {
    self.line = line
    self.column = column
  }

  init(_ mark: Mark?) { self.init(line: mark?.line ?? 0, column: mark?.column ?? 0) }

  /// The place after the last character.
  init(endOf text: String) {
    let scalars = text.unicodeScalars
    let start = scalars.lastIndex(of: "\n").map { scalars.index(after: $0) } ?? scalars.startIndex
    self.init(
      line: scalars.count { $0 == "\n" } + 1, column: scalars[start...].count + 1)
  }

  static func < (a: Place, b: Place) -> Bool { (a.line, a.column) < (b.line, b.column) }
}

/// The YAML layer: text into nodes, without the parts of YAML that a policy has no use for.
enum PolicyText {
  struct SyntaxError: Error {
    var place: Place?
    var message: String
  }

  struct Composed {
    /// nil for a file with nothing but comments.
    var root: Node?
    /// Keys that come again further down in the same mapping: where each stands first, and its text.
    var duplicates: [Place: String]
  }

  /// Where `&name` or `*name` stand as YAML would read them. They are refused before parsing, since a few lines of them
  /// expand to more nodes than there is memory.
  /// - Returns: whether each looks like a wildcard, too.
  static func references(in text: String) -> [(place: Place, isWildcard: Bool)] {
    var places: [(Place, Bool)] = []
    for (number, line) in lines(of: text).enumerated() {
      var previous: Unicode.Scalar = " "
      var seenQuote = false
      for (column, scalar) in line.enumerated() {
        let startsToken = " \t[{,:-?!".unicodeScalars.contains(previous)
        // A comment, unless it may be inside quotes.
        if scalar == "#" && startsToken && !seenQuote { break }
        if scalar == "\"" || scalar == "'" { seenQuote = true }
        let next =
          column + 1 < line.count ? line[line.index(line.startIndex, offsetBy: column + 1)] : " "
        if startsToken, scalar == "&" || scalar == "*", next != " ", next != "\t", next != "\r" {
          let isWildcard = scalar == "*" && (next == "@" || next == ".")
          places.append((Place(line: number + 1, column: column + 1), isWildcard))
        }
        previous = scalar
      }
    }
    return places
  }

  /// Yams stops at the first key that stands twice. So that all other errors are found too, the first of the two is renamed,
  /// in place and with the same length, and its old name remembered.
  static func compose(_ text: String) throws(SyntaxError) -> Composed {
    var rows = lines(of: text)
    var duplicates: [Place: String] = [:]
    while true {
      let text = rows.map { String(String.UnicodeScalarView($0)) }.joined(separator: "\n")
      do {
        return Composed(root: try Yams.compose(yaml: text), duplicates: duplicates)
      } catch YamlError.duplicatedKeysInMapping(let names, let context) {
        let place = Place(context.mark)
        let problem = SyntaxError(
          place: place,
          message:
            "the key '\(Escaping.terminal(names.first ?? ""))' stands twice in this section")
        guard duplicates.count < 100, let name = names.first,
          rename(name, at: place, in: &rows, number: duplicates.count)
        else { throw problem }
        duplicates[place] = name
      } catch {
        throw explain(error, rows)
      }
    }
  }

  private static func lines(of text: String) -> [[Unicode.Scalar]] {
    text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false).map(Array.init)
  }

  private static func rename(
    _ name: String, at place: Place, in rows: inout [[Unicode.Scalar]], number: Int
  ) -> Bool {
    guard rows.indices.contains(place.line - 1), !name.isEmpty else { return false }
    var row = rows[place.line - 1]
    var start = place.column - 1
    if row.indices.contains(start), row[start] == "\"" || row[start] == "'" { start += 1 }
    let length = name.unicodeScalars.count
    guard start >= 0, start + length <= row.count,
      row[start..<(start + length)].elementsEqual(name.unicodeScalars),
      // Private-use letters, which no key holds: one that numbers, the rest to fill.
      let mark = Unicode.Scalar(0xE000 + number)
    else { return false }
    row.replaceSubrange(
      start..<(start + length),
      with: [mark] + [Unicode.Scalar](repeating: "\u{F000}", count: length - 1))
    rows[place.line - 1] = row
    return true
  }

  private static func explain(_ error: any Error, _ rows: [[Unicode.Scalar]]) -> SyntaxError {
    switch error {
    case YamlError.scanner(let context, let problem, let mark, _),
      YamlError.parser(let context, let problem, let mark, _),
      YamlError.composer(let context, let problem, let mark, _):
      let place = Place(mark)
      let row = rows.indices.contains(place.line - 1) ? rows[place.line - 1] : []
      if row.prefix(while: { $0 == " " || $0 == "\t" }).contains("\t") {
        return SyntaxError(place: place, message: "a tab indents this line; YAML takes only spaces")
      }
      if let mark = context?.mark, problem.contains("unexpected end of stream") {
        return SyntaxError(
          place: Place(mark), message: "not YAML: a quote begins here and does not end")
      }
      if let first = row.dropFirst(place.column - 1).first, "@`%".unicodeScalars.contains(first) {
        return SyntaxError(
          place: place, message: "not YAML: what begins with \(first) needs quotes: '\(first)…'")
      }
      let text = [context?.text.trimmed, problem.trimmed].compactMap { $0 }.joined(separator: ", ")
      return SyntaxError(
        place: place, message: "not YAML: \(text)\(hint(problem).map { "; \($0)" } ?? "")")
    case YamlError.reader(let problem, let offset, _, let yaml):
      let place = offset.map { Place(endOf: String(yaml.prefix($0))) }
      return SyntaxError(place: place, message: "not YAML: \(problem)")
    default:
      return SyntaxError(place: nil, message: "not YAML: \(error)")
    }
  }

  /// What mostly lies behind libyaml's words.
  private static func hint(_ problem: String) -> String? {
    if problem.contains("did not find expected <document start>") {
      return "is the first setting indented, or is this line not?"
    }
    if problem.contains("mapping values are not allowed") {
      return "is this line indented too far?"
    }
    return nil
  }
}

extension String {
  fileprivate var trimmed: String {
    var text = self[...]
    while let last = text.last, last == "\n" || last == " " { text.removeLast() }
    return String(text)
  }
}
