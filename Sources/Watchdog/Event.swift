import Glibc
import Mail
import Synchronization
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

/// Takes events somewhere. A sink never throws into the loop, and never waits.
public protocol EventSink: Sendable {
  func take(_ event: Event)
  /// Called at every look.
  /// - Returns: why events do not arrive at the moment.
  func tend() -> String?
}

extension EventSink {
  public func tend() -> String? { nil }
}

/// The systemd journal. What it does not take waits for it, the oldest given up when there is too much; where there is none, standard error has it.
public final class JournalSink: EventSink {
  static let mostWaiting = 1000

  private struct State {
    var waiting: [Event] = []
    var lost = 0
    var hasWorked = false
    var trouble: String?
  }
  private let state = Mutex(State())
  private let send: @Sendable (Event) throws(JournalError) -> Void

  public convenience init() {
    self.init { event throws(JournalError) in
      try Journal.send(event.id, event.wholeMessage, priority: event.priority, event.fields)
    }
  }

  init(_ send: @escaping @Sendable (Event) throws(JournalError) -> Void) { self.send = send }

  public func take(_ event: Event) {
    state.withLock { state in
      if state.waiting.count >= Self.mostWaiting {
        state.waiting.removeFirst()
        state.lost += 1
      }
      state.waiting.append(event)
      deliver(&state)
    }
  }

  public func tend() -> String? {
    state.withLock { state in
      if !state.waiting.isEmpty { deliver(&state) }
      return state.trouble
    }
  }

  private func deliver(_ state: inout State) {
    var done = 0
    defer { state.waiting.removeFirst(done) }
    for var event in state.waiting {
      if state.lost > 0 {
        event.message += " (\(state.lost) earlier events are lost: the journal did not take them)"
      }
      do throws(JournalError) {
        try send(event)
        state.hasWorked = true
        state.trouble = nil
        state.lost = 0
      } catch {
        // Without systemd there is no journal, and standard output has it all.
        let isAway = if case .noJournal = error { true } else { false }
        guard !isAway || Journal.holdsStandardError || state.hasWorked else {
          done = state.waiting.count
          return
        }
        state.trouble = "\(error)"
        guard isAway, Journal.holdsStandardError,
          Journal.writeToStandardError("\(event.id.rawValue): \(event.wholeMessage) (\(error))\n")
        else { return }
      }
      done += 1
    }
  }
}
