import Glibc
import Mail
import Systemd

/// Events as lines for a person (or, as JSON, for a program) on standard output.
public struct TerminalSink: EventSink {
  public enum Form: Sendable {
    case plain
    case coloured
    case json
  }
  private let form: Form

  public init(_ form: Form) { self.form = form }

  /// Colour on a terminal unless `NO_COLOR` says no.
  public static var suitableForm: Form {
    isatty(STDOUT_FILENO) == 1 && getenv("NO_COLOR") == nil ? .coloured : .plain
  }

  public func take(_ event: Event) {
    var text: String
    switch form {
    case .json: text = event.json.text
    case .plain: text = "\(clock(event.time)) \(event.id.rawValue): \(event.message)"
    case .coloured:
      let colour =
        switch event.priority {
        case .emergency, .alert, .critical, .error: "\u{1B}[1;31m"
        case .warning: "\u{1B}[33m"
        case .notice: "\u{1B}[1m"
        case .info, .debug: ""
        }
      text = "\(clock(event.time)) \(colour)\(event.id.rawValue)\u{1B}[0m: \(event.message)"
    }
    if form != .json { for advice in event.advice { text += "\n         -> \(advice)" } }
    let bytes = Array((text + "\n").utf8)
    // A terminal that is gone must not end the daemon: what it would have shown is in the journal.
    _ = bytes.withUnsafeBytes { write(STDOUT_FILENO, $0.baseAddress, $0.count) }
  }

  private func clock(_ time: Timestamp) -> String { String(time.iso8601.dropFirst(11).dropLast()) }
}
