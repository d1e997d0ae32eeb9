import Files
import Fixtures
import Foundation
import GRDB
import Glibc
import Ledger
import Mail
import QmailSimulator
import Testing

@testable import Systemd

/// Faults that are no errno of a call: a queue that goes away, inotify at its limits, a ledger in other hands, clocks.
@Suite(.enabled(if: Shim.shared != nil, "needs a C compiler and the built program"))
struct HardFaultTests {
  typealias Fault = FaultTests.Fault

  /// Whether mounts of one's own can be made here.
  static let canMount: Bool = {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/unshare")
    process.arguments = ["-m", "mount", "-t", "tmpfs", "none", "/mnt"]
    process.standardError = FileHandle.nullDevice
    guard (try? process.run()) != nil else { return false }
    process.waitUntilExit()
    return process.terminationStatus == 0
  }()

  @Test("the queue is renamed away, and another one made in its place")
  func replacedQueue() async throws {
    try await Turnstile.shared.within {
      let machine = try FaultyMachine()
      let queue = "\(machine.watched.qmail)/queue"
      try await FaultTests().lifeOf(
        Fault("replaced queue", [], "Cannot watch", isLossy: true), machine,
        { try #require(rename(queue, "\(queue).old") == 0) },
        {
          _ = try SimulatedQmail.create(at: "\(machine.watched.path)/other")
          try #require(rename("\(machine.watched.path)/other/queue", queue) == 0)
        })
    }
  }

  @Test(
    "the queue is unmounted under the daemon and mounted again",
    .enabled(if: canMount, "needs root, for mounts of its own"))
  func unmountedQueue() async throws {
    try await Turnstile.shared.within {
      let machine = try FaultyMachine(view: "view") { watched in
        ["queue", "control", "bin"].map {
          "mkdir -p \(watched.path)/view/\($0) && mount --bind \(watched.qmail)/\($0) \(watched.path)/view/\($0)"
        }.joined(separator: " && ")
      }
      let view = "\(machine.watched.path)/view/queue"
      try await FaultTests().lifeOf(
        Fault("unmounted queue", [], "Cannot watch"), machine,
        { try machine.inNamespace(["umount", "-l", view]) },
        { try machine.inNamespace(["mount", "--bind", "\(machine.watched.qmail)/queue", view]) })
    }
  }

  @Test("no inotify to be had at the start, and later it is")
  func noInotify() async throws {
    try await Turnstile.shared.within {
      let machine = try FaultyMachine(faults: ["fail 24 n *"])
      let fault = Fault(
        "no inotify", [], "not everything that happens in the queue is seen", isFlooded: true)
      try await FaultTests().lifeOf(fault, machine, nil, { machine.daemon.mend() })
    }
  }

  @Test("the limit of inotify watches is reached when directories are made anew")
  func watchLimit() async throws {
    try await Turnstile.shared.within {
      let machine = try FaultyMachine()
      let queue = "\(machine.watched.qmail)/queue"
      try await FaultTests().lifeOf(
        Fault("watch limit", [], "the limit of inotify watches is reached", isFlooded: true),
        machine,
        {
          try machine.daemon.inject(["fail 28 n \(queue)/info"])
          // Gone and back: all directories are watched anew.
          try #require(rename("\(queue)/bounce", "\(queue)/bounce.away") == 0)
          try #require(rename("\(queue)/bounce.away", "\(queue)/bounce") == 0)
        }, { machine.daemon.mend() })
    }
  }

  @Test("the kernel drops events while the daemon stands still: said, made up for, over")
  func overflow() async throws {
    try await Turnstile.shared.within {
      let machine = try FaultyMachine()
      let daemon = machine.daemon
      #expect(try await daemon.wait(20) { daemon.status.hasPrefix("enforce: ") })
      kill(daemon.pid, SIGSTOP)
      let todo = try Descriptor.open("\(machine.watched.qmail)/queue/todo", .directory)
      for _ in 0..<12_000 {
        _ = try todo.open("1", [.write, .create])
        try todo.unlink("1")
      }
      try await machine.floodNow(atMost: 90)
      kill(daemon.pid, SIGCONT)
      let isTold = try await daemon.wait(30) {
        daemon.said("degraded").contains { $0.contains("the kernel dropped queue events") }
          && daemon.said("restored").contains { $0.contains("seen at once again") }
      }
      #expect(isTold, "\(daemon.status) \(daemon.said(""))")
      try await FaultTests().finish(machine)
    }
  }

  /// As another process does: not let go of before `ROLLBACK`.
  private func hold(_ ledger: String) throws -> DatabaseQueue {
    var configuration = Configuration()
    configuration.allowsUnsafeTransactions = true
    configuration.busyMode = .timeout(5)
    let other = try DatabaseQueue(path: ledger, configuration: configuration)
    try other.writeWithoutTransaction { try $0.execute(sql: "BEGIN IMMEDIATE") }
    return other
  }

  private func letGo(_ other: DatabaseQueue?) throws {
    try other?.writeWithoutTransaction { try $0.execute(sql: "ROLLBACK") }
  }

  @Test("another process holds the ledger for long")
  func lockedLedger() async throws {
    try await Turnstile.shared.within {
      let machine = try FaultyMachine()
      var other: DatabaseQueue?
      try await FaultTests().lifeOf(
        Fault("locked ledger", [], "the ledger is locked by another process", isFlooded: true),
        machine,
        {
          other = try hold("\(machine.watched.state)/ledger.sqlite")
        },
        {
          try letGo(other)
        })
    }
  }

  enum Held: CaseIterable {
    case ledger, hands
  }

  @Test(
    "another process holds the ledger, or has the hands, when the daemon starts: it waits, says that it lives, and goes on",
    arguments: Held.allCases)
  func heldAtStart(_ held: Held) async throws {
    try await Turnstile.shared.within {
      let machine = try FaultyMachine()
      let state = machine.watched.state
      let first = machine.daemon
      #expect(try await first.wait(20) { first.status.hasPrefix("enforce: ") })
      #expect(try await first.stop() == 0)
      // What may be in it is looked at.
      try Folder.make("\(state)/quarantine")
      let other = held == .ledger ? try hold("\(state)/ledger.sqlite") : nil
      let hands = held == .hands ? try FileLock.take("\(state)/lock") : nil
      let second = try RealDaemon(machine.places, in: try machine.folder("second"))
      let why =
        held == .ledger
        ? "the ledger is locked by another process" : "another qwarden is at work"
      let isWaiting = try await second.wait(30) {
        second.pings >= 3 && second.status.contains(why)
      }
      #expect(isWaiting, "\(held): \(second.status)")
      #expect(second.isReady == (held == .hands))
      try letGo(other)
      _ = consume hands
      let isOver = try await second.wait(20) {
        second.status.hasPrefix("enforce: ") && !second.status.contains("degraded")
      }
      #expect(isOver, "\(held): \(second.status)")
      #expect(try await second.stop() == 0)
      try await machine.end()
    }
  }

  enum Damage: String, CaseIterable {
    case garbage, noDatabase, cutOff, removed, replacedByEmpty
  }

  @Test(
    "the ledger is damaged in the run: set aside, a new one begun, said loudly, and the work goes on",
    arguments: Damage.allCases)
  func damagedLedger(_ damage: Damage) async throws {
    try await Turnstile.shared.within {
      let machine = try FaultyMachine()
      let daemon = machine.daemon
      let ledger = "\(machine.watched.state)/ledger.sqlite"
      #expect(try await daemon.wait(20) { daemon.status.hasPrefix("enforce: ") })
      let size = Int(try FileStatus.of(ledger).size)
      switch damage {
      case .garbage:
        let file = try Descriptor.open(ledger, .readWrite)
        try file.write([UInt8](repeating: 0x5A, count: size - 4096), at: 4096)
      case .noDatabase:
        let file = try Descriptor.open(ledger, .readWrite)
        try file.write([UInt8](repeating: 0x5A, count: size), at: 0)
      case .cutOff: #expect(truncate(ledger, 4096) == 0)
      case .removed: for suffix in ["", "-wal", "-shm"] { unlink(ledger + suffix) }
      case .replacedByEmpty: try Replacement.write([], to: ledger, mode: 0o600)
      }
      try await machine.floodNow()
      let isAnswered = try await daemon.wait(40) {
        machine.isAnswered && !daemon.status.contains("cannot be used")
      }
      #expect(isAnswered, "\(damage): \(daemon.status)\n\(daemon.said("").joined(separator: "\n"))")
      let alerts = daemon.events.filter {
        ($0["message"] as? String)?.contains("the ledger") == true && $0["priority"] as? Int == 1
      }
      #expect(!alerts.isEmpty && alerts.count <= 2, "\(damage): \(daemon.said(""))")
      if damage != .removed, damage != .replacedByEmpty {
        let aside = try FileManager.default.contentsOfDirectory(atPath: machine.watched.state)
          .filter { $0.hasPrefix("ledger.sqlite.damaged-") && !$0.hasSuffix("-wal") }
        #expect(!aside.isEmpty, "\(damage)")
        #expect(daemon.status.contains("the ledger was damaged"), "\(damage): \(daemon.status)")
      }
      #expect(try await daemon.stop() == 0)
      // What it holds now is whole and in step with badmailfrom.
      let (sound, aside) = try Ledger.openSound(ledger, at: WallClock.now())
      #expect(aside == nil, "\(damage)")
      #expect(try sound.quarantine([.marked, .gone]).count > 20, "\(damage)")
      try await machine.end()
    }
  }

  enum Leap: String, CaseIterable {
    case forward, back, suspend
  }

  @Test(
    "the clock is set by hours, or the machine sleeps: no false storm, nothing runs out before its time, and a flood is found",
    arguments: Leap.allCases)
  func clocks(_ leap: Leap) async throws {
    try await Turnstile.shared.within {
      let machine = try FaultyMachine(time: .virtual)
      let daemon = machine.daemon
      let what: () -> Comment = {
        "\(leap): \(daemon.status)\n\(daemon.said("").joined(separator: "\n"))"
      }
      #expect(try await daemon.wait(20) { daemon.status.hasPrefix("enforce: ") })
      try await machine.floodNow()
      for process in try blocks(1, machine.places + ["--for", leap == .suspend ? "24h" : "1h"]) {
        process.waitUntilExit()
      }
      let line = "\nspam0@bad.test\n"
      let isAnswered = try await daemon.wait(40) {
        machine.isAnswered && machine.badmailfrom.contains(line)
      }
      #expect(isAnswered, what())
      #expect(machine.storms.count == 1, what())
      let hours = leap == .back ? -6 : 6
      machine.clock.value = .seconds(hours * 3600)
      try daemon.inject(
        ["clock \(hours * 3600)"] + (leap == .suspend ? ["boot \(hours * 3600)"] : []))
      let pings = daemon.pings
      if leap != .suspend {
        let isTold = try await daemon.wait(20) {
          daemon.said("degraded").contains { $0.contains("the clock was set") }
        }
        #expect(isTold, what())
      }
      try await Task.sleep(for: .seconds(4))
      daemon.look()
      #expect(daemon.pings - pings >= 2, what())
      #expect(machine.storms.count == 1, what())
      #expect(daemon.said("block-removed").isEmpty, what())
      #expect(machine.badmailfrom.contains(line), what())
      let kept = try Ledger("\(machine.watched.state)/ledger.sqlite").standingBlocks()
      let left =
        kept.first { $0.entry == Address("spam0@bad.test") }?.expires.seconds(
          since: WallClock.now() + machine.clock.value) ?? 0
      #expect(leap == .suspend || (3000...3700).contains(left), "\(leap): \(left) s left")
      try await machine.floodNow(.webScript)
      let isFound = try await daemon.wait(40) {
        daemon.said("storm-began").contains { $0.contains("local-script") }
          && daemon.said("quarantined").contains { $0.hasPrefix("incident 2: ") }
      }
      #expect(isFound, what())
      #expect(try await daemon.stop() == 0)
      try await machine.end()
    }
  }

  @Test(
    "commands, an editor and the daemon at badmailfrom in the same seconds: every line of each stands"
  )
  func manyHands() async throws {
    try await Turnstile.shared.within {
      let machine = try FaultyMachine()
      let daemon = machine.daemon
      let badmailfrom = "\(machine.watched.qmail)/control/badmailfrom"
      #expect(try await daemon.wait(20) { daemon.status.hasPrefix("enforce: ") })
      let commands = try blocks(6, machine.places)
      // Editors write anew and rename.
      for number in 0..<20 {
        let text = try Descriptor.open(badmailfrom).readAll(limit: 1 << 20)
        let edited = Array("byhand\(number)@bad.test\n".utf8) + text
        try Descriptor.open("\(badmailfrom)~", [.write, .create], mode: 0o644).write(edited, at: 0)
        try #require(rename("\(badmailfrom)~", badmailfrom) == 0)
        try await Task.sleep(for: .milliseconds(50))
      }
      try await machine.floodNow()
      for process in commands {
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
      }
      let wanted = (0..<6).map { "spam\($0)@bad.test" } + ["admin@spam.test"]
      let areThere = try await daemon.wait(30) {
        wanted.allSatisfy { machine.badmailfrom.contains("\($0)\n") }
      }
      #expect(areThere, "\(machine.badmailfrom)")
      for number in 0..<20 {
        #expect(machine.badmailfrom.contains("byhand\(number)@bad.test\n"))
      }
      #expect(try await daemon.stop() == 0)
      try await machine.end()
    }
  }

  @Test(
    "qmail-send is killed and started again while a storm is set aside: every recipient is accounted for"
  )
  func restartedSend() async throws {
    try await Turnstile.shared.within {
      let machine = try FaultyMachine()
      let daemon = machine.daemon
      #expect(try await daemon.wait(20) { daemon.status.hasPrefix("enforce: ") })
      try await machine.floodNow()
      try await machine.sendRestarting(300..<600)
      try await FaultTests().finish(machine)
      let troubles = daemon.said("degraded") + daemon.said("queue-unreadable")
      #expect(troubles == [])
    }
  }

  @Test("a second daemon on the same state directory ends with 73, and the first goes on")
  func secondDaemon() async throws {
    try await Turnstile.shared.within {
      let machine = try FaultyMachine()
      let daemon = machine.daemon
      #expect(try await daemon.wait(20) { daemon.status.hasPrefix("enforce: ") })
      let before = (daemon.pings, daemon.said(""))
      for name in ["second", "third"] {
        let other = try RealDaemon(machine.places, in: try machine.folder(name))
        #expect(try await other.end() == 73)
        #expect(other.events.isEmpty && !other.isReady)
      }
      #expect(try await daemon.wait(10) { daemon.pings >= before.0 + 2 })
      #expect(daemon.said("") == before.1)
      try await machine.floodNow()
      try await FaultTests().finish(machine)
    }
  }

  @Test(
    "journald does not read, from the start: nothing waits for it, and it gets every event in order once it does",
    .enabled(if: canMount, "needs root, for mounts of its own"))
  func silentJournal() async throws {
    try await Turnstile.shared.within {
      let place = TemporaryFolder()
      let folder = place.path
      let journal = try UnixSocket.receiver(at: "\(folder)/socket")
      // As many as the kernel keeps for one who does not read.
      while Datagram.Socket().send([0], to: "\(folder)/socket") == 0 {}
      let machine = try FaultyMachine(inNamespace: { _ in
        "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && mount --bind \(folder) /run/systemd/journal"
      })
      let heard = Witnessed<String>()
      var reading: Task<Void, Never>?
      defer { reading?.cancel() }
      try await FaultTests().lifeOf(
        Fault("silent journal", [], "the journal cannot be written", isFlooded: true), machine, nil
      ) {
        reading = Task { [number = journal.number] in
          var buffer = [UInt8](repeating: 0, count: 65_536)
          while !Task.isCancelled {
            let count = recv(number, &buffer, buffer.count, Int32(MSG_DONTWAIT))
            if count > 1 { heard.add(Text.decode(Self.event(buffer[..<count]))) }
            if count < 0 { try? await Task.sleep(for: .milliseconds(10)) }
          }
        }
      }
      let told = machine.daemon.events.compactMap { $0["event"] as? String }
      #expect(try await machine.daemon.wait(5) { heard.values.count >= told.count })
      #expect(heard.values == told)
    }
  }

  /// An entry's QWARDEN_EVENT: its name, the length in eight bytes, the value.
  private static func event(_ entry: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    guard let name = entry.firstRange(of: Array("QWARDEN_EVENT\n".utf8)) else { return [] }
    return entry[name.upperBound...].dropFirst(8).prefix { $0 != 0x0A }
  }

  private func blocks(_ count: Int, _ places: [String]) throws -> [Process] {
    let program = try #require(Shim.shared).program
    var started: [Process] = []
    for number in 0..<count {
      let process = Process()
      process.executableURL = URL(fileURLWithPath: program)
      process.arguments = ["block", "spam\(number)@bad.test"] + places
      process.standardOutput = FileHandle.nullDevice
      try process.run()
      started.append(process)
    }
    return started
  }
}
