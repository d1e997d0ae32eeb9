import ArgumentParser
import Files
import Glibc

/// Whether output is coloured: `--color`, and NO_COLOR as no-color.org has it.
struct ColorOption: ParsableArguments {
  enum When: String, ExpressibleByArgument, CaseIterable {
    case auto, always, never
  }

  @Option(
    help: ArgumentHelp(
      "Colour; auto is on a terminal, unless NO_COLOR is set.", valueName: "when"))
  var color = When.auto

  var style: Style {
    switch color {
    case .always: Style(isColoured: true)
    case .never: Style(isColoured: false)
    case .auto: .usual
    }
  }
}

/// Puts colour on text of our own or already escaped; nothing that came from mail gets here unescaped.
struct Style: Sendable {
  enum Ink: String {
    case strong = "1"
    case dim = "2"
    case bad = "31"
    case number = "36"
    case waiting = "33"
  }

  let isColoured: Bool

  /// That of every output without an option of its own, the daemon's and the demo's too.
  static var usual: Style {
    usual(isTerminal: Output.isTerminal) { getenv($0).map { String(cString: $0) } }
  }

  static func usual(isTerminal: Bool, _ environment: (String) -> String?) -> Style {
    let isUnwanted = environment("NO_COLOR").map { !$0.isEmpty } ?? false
    return Style(
      isColoured: isTerminal && !isUnwanted && (environment("TERM") ?? "dumb") != "dumb")
  }

  func callAsFunction(_ ink: Ink, _ text: String) -> String {
    isColoured && !text.isEmpty ? "\u{1B}[\(ink.rawValue)m\(text)\u{1B}[0m" : text
  }
}

/// How many columns text takes on a terminal.
enum TextWidth {
  static func of(_ text: String) -> Int {
    let bytes = text.utf8
    if bytes.allSatisfy({ $0 < 0x80 }) { return bytes.count }
    return text.unicodeScalars.reduce(0) { $0 + of($1) }
  }

  static func of(_ scalar: Unicode.Scalar) -> Int {
    if scalar.value < 0x300 { return 1 }
    switch scalar.properties.generalCategory {
    case .nonspacingMark, .enclosingMark: return 0
    default: break
    }
    switch scalar.value {
    // East Asian wide and fullwidth, and the pictographs (Unicode's EastAsianWidth.txt, in rough blocks).
    case 0x1100...0x115F, 0x2E80...0x303E, 0x3041...0xA4CF, 0xAC00...0xD7A3, 0xF900...0xFAFF,
      0xFE30...0xFE6F, 0xFF00...0xFF60, 0xFFE0...0xFFE6, 0x1F300...0x1F64F, 0x1F900...0x1F9FF,
      0x20000...0x3FFFD:
      return 2
    default: return 1
    }
  }
}

/// Tells on standard error how far long work has come: only on a terminal, and only after a second.
final class Progress {
  private let isShown: Bool
  private let begun: Int64
  private var last: Int64
  private var done = 0
  private var isOnScreen = false
  private let what: String

  /// - Parameters:
  ///   - isAlone: nothing is written to the terminal meanwhile.
  ///   - what: is counted.
  init(isAlone: Bool, _ what: String = "messages read") {
    self.what = what
    isShown = isatty(STDERR_FILENO) == 1 && (isAlone || isatty(STDOUT_FILENO) != 1)
    begun = WallClock.monotonic()
    last = begun
  }

  func advance(by count: Int) {
    guard isShown else { return }
    done += count
    let now = WallClock.monotonic()
    guard now - begun > 1_000_000_000, now - last > 200_000_000 else { return }
    last = now
    isOnScreen = true
    Output.write("\r\(done) \(what)", to: STDERR_FILENO)
  }

  /// Takes the line away again.
  func end() {
    guard isOnScreen else { return }
    isOnScreen = false
    let blanks = String(repeating: " ", count: "\(done) \(what)".utf8.count)
    Output.write("\r\(blanks)\r", to: STDERR_FILENO)
  }
}
