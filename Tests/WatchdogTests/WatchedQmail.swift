import Files
import Fixtures
import Ledger
import Policy
import QmailSimulator
import Response
import Synchronization
import Systemd
import Watchdog

/// Keeps the events it is given.
final class Witness: EventSink {
  private let kept = Mutex<[Event]>([])

  func take(_ event: Event) { kept.withLock { $0.append(event) } }

  var events: [Event] { kept.withLock { $0 } }
  func events(_ id: MessageID) -> [Event] { events.filter { $0.id == id } }
}

/// A place for a simulated qmail, and for a watchdog on it in this process.
struct WatchedQmail {
  private let folder = TemporaryFolder()
  var path: String { folder.path }
  var qmail: String { "\(path)/qmail" }
  var state: String { "\(path)/state" }
  let witness = Witness()

  func watchdog(_ policy: Policy, policyPath: String = "") throws -> Watchdog {
    try Watchdog(
      Watchdog.Configuration(
        places: Responder.Places(qmail: qmail, state: state), policyPath: policyPath,
        policy: policy, version: "test"),
      sinks: [witness])
  }

  /// Waits until `condition` holds, at most so many seconds of turns: where other tests hold the threads, the traffic gets no turn
  /// either, and this must wait as long.
  /// - Returns: whether it came to hold.
  func wait(_ seconds: Double, until condition: () async throws -> Bool) async rethrows -> Bool {
    for _ in 0..<Int(seconds * 50) {
      if try await condition() { return true }
      try? await Task.sleep(for: .milliseconds(20))
    }
    return try await condition()
  }

  /// Runs `body` while the driver plays its traffic; qmail-send has stopped when this returns.
  func whilePlaying<T>(_ driver: TrafficDriver, _ body: () async throws -> T) async throws -> T {
    let driving = Task { try await driver.run() }
    do {
      let result = try await body()
      driving.cancel()
      _ = try await driving.value
      return result
    } catch {
      driving.cancel()
      throw error
    }
  }

  var badmailfrom: String {
    let bytes = try? Descriptor.open("\(qmail)/control/badmailfrom").readAll(limit: 1 << 20)
    return String(decoding: bytes ?? [], as: UTF8.self)
  }

  func ledger() throws -> Ledger { try Ledger("\(state)/ledger.sqlite") }
}

extension Policy {
  /// The shipped one, but not following this machine's own qmail.
  static var unlogged: Policy {
    var policy = Policy()
    policy.log.source = .none
    return policy
  }

  /// That in enforce mode, looking often enough for a test.
  static var brisk: Policy {
    var policy = unlogged
    policy.mode = .enforce
    policy.polling.normal = .milliseconds(200)
    policy.polling.storm = .milliseconds(100)
    return policy
  }
}
