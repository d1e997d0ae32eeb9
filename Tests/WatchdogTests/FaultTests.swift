import Fixtures
import Foundation
import GRDB
import Glibc
import Testing

/// Faults injected into the real daemon: healthy, the fault begins, degraded as promised and said so once, the fault ends, healthy again by
/// itself, and a flood found and set aside.
@Suite(.enabled(if: Shim.shared != nil, "needs a C compiler and the built program"))
struct FaultTests {
  struct Fault: Sendable, CustomTestStringConvertible {
    var name: String
    /// Lines for the shim; `STATE`, `CONTROL` and `QUEUE` stand for the directories.
    var lines: [String]
    /// What STATUS says meanwhile.
    var status: String
    /// A flood while it lasts is told of at once, and acted on when it is over.
    var isFlooded = false
    /// A flood is blocked only, so that its failures go on.
    var isBlockedOnly = false
    /// Mail is lost with the queue.
    var isLossy = false

    init(
      _ name: String, _ lines: [String], _ status: String, isFlooded: Bool = false,
      isBlockedOnly: Bool = false, isLossy: Bool = false
    ) {
      (self.name, self.lines, self.status) = (name, lines, status)
      (self.isFlooded, self.isBlockedOnly) = (isFlooded, isBlockedOnly)
      self.isLossy = isLossy
    }
    var testDescription: String { name }
  }

  static let faults = [
    Fault(
      "disk full: state", ["fail 28 g STATE"], "the ledger cannot be used", isFlooded: true),
    Fault(
      "read-only: state", ["fail 30 w STATE"], "the ledger cannot be used", isFlooded: true),
    Fault("EIO: state", ["fail 5 rw STATE"], "the state directory cannot be written"),
    Fault("EIO: ledger", ["fail 5 rw STATE/ledger"], "the ledger cannot be used", isFlooded: true),
    Fault(
      "disk full: history", ["fail 28 g STATE/history"], "no history is kept", isFlooded: false),
    Fault(
      "disk full: quarantine", ["fail 28 g STATE/quarantine"], "messages cannot be set aside",
      isFlooded: true),
    Fault(
      "disk full: control", ["fail 28 g CONTROL"], "badmailfrom cannot be written",
      isFlooded: true, isBlockedOnly: true),
    Fault(
      "read-only: control", ["fail 30 w CONTROL"], "badmailfrom cannot be written",
      isFlooded: true, isBlockedOnly: true),
    Fault(
      "EIO: control", ["fail 5 rw CONTROL/badmailfrom"], "badmailfrom cannot be written",
      isFlooded: true, isBlockedOnly: true),
    Fault(
      "read-only: queue", ["fail 30 w QUEUE"], "messages cannot be set aside", isFlooded: true),
    Fault("EIO: queue", ["fail 5 r QUEUE"], "Cannot watch"),
    Fault(
      "EIO: one directory of the queue", ["fail 5 r QUEUE/info/3"],
      "not everything that happens in the queue is seen"),
    Fault("ENOMEM: queue and state", ["fail 12 rw QUEUE", "fail 12 rw STATE"], "Cannot watch"),
    Fault("EMFILE", ["fail 24 d *"], "Cannot watch"),
  ]

  @Test(
    "a fault is told once, nothing is lost and the loop goes on; it is over by itself, and a flood after it is dealt with",
    arguments: faults)
  func injected(_ fault: Fault) async throws {
    try await Turnstile.shared.within {
      let machine = try FaultyMachine(setsAside: !fault.isBlockedOnly)
      let watched = machine.watched
      let lines = fault.lines.map {
        $0.replacing("STATE", with: watched.state)
          .replacing("CONTROL", with: "\(watched.qmail)/control")
          .replacing("QUEUE", with: "\(watched.qmail)/queue")
      }
      try await lifeOf(
        fault, machine, { try machine.daemon.inject(lines) }, { machine.daemon.mend() })
    }
  }

  func lifeOf(
    _ fault: Fault, _ machine: FaultyMachine, _ begin: (() throws -> Void)?,
    _ end: () throws -> Void
  ) async throws {
    let daemon = machine.daemon
    let what: () -> Comment = {
      "\(fault.name): \(daemon.status)\n\(daemon.said("").joined(separator: "\n"))"
    }
    let isReady = try await daemon.wait(40) { daemon.isReady }
    #expect(isReady, what())
    if let begin {
      let isHealthy = try await daemon.wait(20) {
        daemon.isReady && daemon.status.hasPrefix("enforce: ")
          && !daemon.status.contains("degraded")
      }
      #expect(isHealthy, what())
      try begin()
    }
    if fault.isFlooded { try await machine.floodNow() }
    let isDegraded = try await daemon.wait(30) { daemon.status.contains(fault.status) }
    #expect(isDegraded, what())
    if fault.isFlooded {
      let isTold = try await daemon.wait(20) { !daemon.said("storm-began").isEmpty }
      #expect(isTold, what())
    }
    let before = (daemon.burden, daemon.pings, daemon.events.count)
    _ = try await daemon.wait(3) { false }
    let after = (daemon.burden, daemon.events.count)
    // At once, but where others keep the machine busy.
    let goesOn = try await daemon.wait(20) { daemon.pings - before.1 >= 2 }
    #expect(goesOn, "\(what()): keep-alives must go on")
    // A look at the queue has some open for a moment; what stays open is what grows.
    let areBack = try await daemon.wait(10) {
      daemon.burden.descriptors <= before.0.descriptors + 6
    }
    #expect(areBack, "\(what()): \(before.0) \(daemon.burden)")
    #expect(after.0.memory <= before.0.memory + 6000, "\(what()): \(before.0) \(after.0)")
    // A storm may be told of in between.
    #expect(after.1 - before.2 <= 8, what())
    try end()
    let isOver = try await daemon.wait(40) {
      !daemon.status.contains(fault.status) && !daemon.status.contains("degraded")
        && daemon.said("restored").count + daemon.said("queue-readable").count > 0
    }
    #expect(isOver, what())
    if !fault.isFlooded { try await machine.floodNow() }
    try await finish(machine, isLossy: fault.isLossy)
    let told = daemon.said("").filter {
      $0.contains(fault.status.lowercased()) || $0.contains(fault.status)
    }
    #expect(told.count <= 2, "\(told)")
    #expect(
      daemon.mostBetweenPings < 60,
      "\(fault.name): \(daemon.mostBetweenPings) s without a keep-alive")
  }

  /// The flood is answered, every recipient accounted for, the administrator's line where it was, and the daemon ends in good order.
  /// - Parameter isLossy: mail was lost with the queue.
  func finish(_ machine: FaultyMachine, isLossy: Bool = false) async throws {
    let daemon = machine.daemon
    let isAnswered = try await daemon.wait(40) { machine.isAnswered }
    let reckoning = isLossy ? [] : try await machine.reckoning()
    let what: Comment = "\(daemon.status)\n\(daemon.said("").joined(separator: "\n"))"
    #expect(isAnswered, what)
    #expect(reckoning == [], what)
    #expect(machine.badmailfrom.hasPrefix("admin@spam.test\n"), what)
    #expect(!daemon.said("").contains { $0.contains("please report") }, what)
    let ended = try await daemon.stop()
    #expect(ended == 0, what)
    try await machine.end()
  }
}

/// Lets so many daemons run at a time: each has a simulated qmail in this process.
actor Turnstile {
  static let shared = Turnstile(6)
  private var free: Int
  private var waiting: [CheckedContinuation<Void, Never>] = []

  init(_ free: Int) { self.free = free }

  nonisolated func within<T>(_ body: () async throws -> T) async throws -> T {
    await enter()
    defer { Task { await leave() } }
    return try await body()
  }

  private func enter() async {
    if free > 0 {
      free -= 1
    } else {
      await withCheckedContinuation { waiting.append($0) }
    }
  }

  private func leave() {
    if waiting.isEmpty { free += 1 } else { waiting.removeFirst().resume() }
  }
}
