/// Builds a page in the man(7) macros, which every man program reads. All text is escaped here and nowhere else.
struct Roff {
  private(set) var text: String

  /// - Parameter summary: for `apropos`, after the name.
  init(_ name: String, section: Int, summary: String) {
    text = """
      .\\" Made by `qwarden manual`; do not edit.
      .TH \(Self.escaped(name.uppercased())) \(section) "" "qwarden \(Qwarden.version)" "qwarden"
      .nh
      .ad l
      .SH NAME
      \(Self.escaped(name)) \\- \(Self.escaped(summary))

      """
  }

  mutating func section(_ title: String) { line(".SH \(Self.escaped(title.uppercased()))") }

  mutating func subsection(_ title: String) { line(".SS \"\(Self.escaped(title))\"") }

  /// Text of one or more paragraphs, with an empty line between them.
  mutating func paragraphs(_ body: String) {
    for paragraph in Self.paragraphs(of: body) {
      line(".PP")
      line(Self.escaped(paragraph))
    }
  }

  /// A term in bold, and beside it what it is.
  mutating func item(_ term: String, _ body: String, value: String? = nil) {
    line(".TP")
    line("\\fB\(Self.escaped(term))\\fR\(value.map { " \\fI\(Self.escaped($0))\\fR" } ?? "")")
    for (place, paragraph) in Self.paragraphs(of: body).enumerated() {
      if place > 0 { line(".IP") }
      line(Self.escaped(paragraph))
    }
  }

  /// Lines to be typed or printed just so.
  mutating func example(_ lines: [String]) {
    line(".PP")
    line(".RS 4")
    line(".nf")
    for each in lines { line(each.isEmpty ? "\\&" : Self.escaped(each)) }
    line(".fi")
    line(".RE")
  }

  private mutating func line(_ line: String) { text += line + "\n" }

  private static func paragraphs(of body: String) -> [String] {
    var found: [String] = []
    var words: [Substring] = []
    for line in body.split(separator: "\n", omittingEmptySubsequences: false) {
      if line.allSatisfy({ $0 == " " }) {
        if !words.isEmpty { found.append(words.joined(separator: " ")) }
        words = []
      } else {
        words.append(line)
      }
    }
    if !words.isEmpty { found.append(words.joined(separator: " ")) }
    return found
  }

  /// Every character as itself: no macro, no escape, no typographic quote in what is to be typed.
  static func escaped(_ text: String) -> String {
    var out = text.hasPrefix(".") || text.hasPrefix("'") ? "\\&" : ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\\": out += "\\e"
      case "-": out += "\\-"
      case "'": out += "\\(aq"
      case "`": out += "\\(ga"
      case "\"": out += "\\(dq"
      case "^": out += "\\(ha"
      case "~": out += "\\(ti"
      case "\n": out += " "
      case _ where scalar.value < 0x20 || scalar.value == 0x7F: break
      case _ where scalar.value > 0x7F:
        let digits = String(scalar.value, radix: 16, uppercase: true)
        out += "\\[u\(String(repeating: "0", count: max(0, 4 - digits.count)))\(digits)]"
      default: out.unicodeScalars.append(scalar)
      }
    }
    return out
  }
}
