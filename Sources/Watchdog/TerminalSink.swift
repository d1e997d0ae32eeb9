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

  public func take(_ event: Event) {
    var text: String
    switch form {
    case .json: text = event.json.text
    case .plain: text = "\(event.time.iso8601) \(event.id.rawValue): \(event.message)"
    case .coloured:
      let colour =
        switch event.priority {
        case .emergency, .alert, .critical, .error: "\u{1B}[1;31m"
        case .warning: "\u{1B}[33m"
        case .notice: "\u{1B}[1m"
        case .info, .debug: ""
        }
      text = "\(event.time.iso8601) \(colour)\(event.id.rawValue)\u{1B}[0m: \(event.message)"
    }
    if form != .json { for advice in event.advice { text += "\n    -> \(advice)" } }
    let bytes = Array((text + "\n").utf8)
    // A terminal that is gone must not end the daemon: what it would have shown is in the journal.
    _ = bytes.withUnsafeBytes { write(STDOUT_FILENO, $0.baseAddress, $0.count) }
  }
}
