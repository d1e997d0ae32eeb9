import Glibc
import Mail
import Storms
import Systemd

/// Something that people or programs should hear of. One typed event feeds the journal, the terminal and JSON, so they cannot disagree.
public struct Event: Sendable, Hashable {
  public var id: MessageID
  public var time: Timestamp
  public var priority: Journal.Priority
  /// One line for people, mail content in it already escaped for a terminal.
  public var message: String
  /// What to do about it, a sentence each, escaped likewise.
  public var advice: [String]
  public var fields: [JournalField]

  public init(
    _ id: MessageID, at time: Timestamp, _ priority: Journal.Priority, _ message: String,
    _ fields: [JournalField] = [], advice: [String] = []
  ) {
    self.id = id
    self.time = time
    self.priority = priority
    self.message = message
    self.advice = advice
    self.fields = fields
  }

  /// Message and advice in one line.
  public var wholeMessage: String { ([message] + advice).joined(separator: " | ") }

  /// The event as JSON: `t`, `event`, `message` and the journal's fields in lower case without their prefix; a field that appears
  /// more than once becomes a list.
  public var json: JSONLine {
    var line = JSONLine()
    line.add("t", time.seconds)
    line.add("event", id.rawValue)
    line.add("priority", priority.rawValue)
    line.add("message", message)
    if !advice.isEmpty { line.add("advice", advice) }
    var names: [JournalField.Name] = []
    for field in fields where !names.contains(field.name) { names.append(field.name) }
    for name in names {
      let values = fields.filter { $0.name == name }.map { Text.decode($0.value) }
      let key = name.rawValue.dropFirst("QWARDEN_".count).lowercased()
      if values.count > 1 {
        line.add(key, values)
      } else if let number = values.first.flatMap(Int.init), name.isNumber {
        line.add(key, number)
      } else {
        line.add(key, values.first ?? "")
      }
    }
    return line
  }
}

extension JournalField.Name {
  fileprivate var isNumber: Bool { [.incident, .messages, .id].contains(self) }
}

/// Takes events somewhere. A sink never throws into the loop.
public protocol EventSink: Sendable {
  func take(_ event: Event)
}

/// The systemd journal; where that cannot take an event, standard error.
public struct JournalSink: EventSink {
  public init() {}

  public func take(_ event: Event) {
    do {
      try Journal.send(event.id, event.wholeMessage, priority: event.priority, event.fields)
    } catch {
      guard Journal.holdsStandardError else { return }
      let line = Array("\(event.id.rawValue): \(event.wholeMessage) (\(error))\n".utf8)
      _ = line.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }
  }
}
