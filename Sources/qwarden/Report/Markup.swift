import Mail

/// HTML that is known to be well-formed: what stands in a literal is markup, whatever is put into it is text and escaped.
///
/// So nothing that came from mail can become markup by being forgotten.
struct Markup: ExpressibleByStringInterpolation {
  private(set) var text: String

  init(stringLiteral value: String) { text = value }
  init(stringInterpolation value: StringInterpolation) { text = value.text }
  init(_ parts: [Markup]) { text = parts.map(\.text).joined(separator: "\n") }

  static func += (a: inout Markup, b: Markup) { a.text += b.text }

  struct StringInterpolation: StringInterpolationProtocol {
    fileprivate var text = ""

    init(literalCapacity: Int, interpolationCount: Int) {}
    mutating func appendLiteral(_ literal: String) { text += literal }
    mutating func appendInterpolation(_ value: String) { text += Markup.escape(value) }
    /// A sentence of our own in which foreign text is escaped already, as for a terminal.
    mutating func appendInterpolation(told value: String) { text += Markup.escapeSigns(value) }
    mutating func appendInterpolation(_ value: Int) { text += String(value) }
    /// A coordinate, to a tenth.
    mutating func appendInterpolation(_ value: Double) { text += value.tenths(short: true) }
    mutating func appendInterpolation(_ value: Markup) { text += value.text }
    mutating func appendInterpolation(_ value: [Markup]) { text += Markup(value).text }
  }

  /// For text and for quoted attributes. What would not show, or would turn the text around, shows as `\xNN`.
  private static func escape(_ value: String) -> String { escapeSigns(Escaping.terminal(value)) }

  private static func escapeSigns(_ value: String) -> String {
    var escaped = ""
    for character in value.unicodeScalars {
      switch character {
      case "&": escaped += "&amp;"
      case "<": escaped += "&lt;"
      case ">": escaped += "&gt;"
      case "\"": escaped += "&quot;"
      case "'": escaped += "&#39;"
      default: escaped.unicodeScalars.append(character)
      }
    }
    return escaped
  }
}
