import Synchronization
import Systemd
import Watchdog

/// Values collected from several threads.
final class Kept<Value: Sendable>: Sendable {
  private let kept = Mutex<[Value]>([])
  func add(_ value: Value) { kept.withLock { $0.append(value) } }
  var values: [Value] { kept.withLock { $0 } }
}

/// Keeps the events that a watchdog tells.
final class Witness: EventSink {
  private let kept = Kept<Event>()
  func take(_ event: Event) { kept.add(event) }
  var events: [Event] { kept.values }
  func events(_ id: MessageID) -> [Event] { events.filter { $0.id == id } }
}

extension [UInt8] {
  /// Whether these bytes hold that text somewhere.
  func contains(_ text: String) -> Bool {
    let wanted = Array(text.utf8)
    guard let first = wanted.first, count >= wanted.count else { return wanted.isEmpty }
    return indices.dropLast(wanted.count - 1).contains {
      self[$0] == first && self[$0..<($0 + wanted.count)].elementsEqual(wanted)
    }
  }
}
