import Fixtures
import QmailSimulator
import Testing

/// Disks that are full indeed, to the last byte or the last inode: a small one of the daemon's own.
@Suite(
  .enabled(if: Shim.shared != nil, "needs a C compiler and the built program"),
  .enabled(if: HardFaultTests.canMount, "needs root, for mounts of its own"))
struct DiskFaultTests {
  typealias Fault = FaultTests.Fault

  @Test(
    "no byte, or no inode, is left on the disk of the state directory: storms are told of, and acted on once there is room",
    arguments: FaultyMachine.Room.allCases)
  func fullState(_ room: FaultyMachine.Room) async throws {
    try await Turnstile.shared.within {
      let machine = try FaultyMachine(disk: .state)
      let daemon = machine.daemon
      // A ledger's files are there already, and need no inode.
      let status =
        room == .bytes ? "the ledger cannot be used" : "messages cannot be set aside"
      try await FaultTests().lifeOf(
        Fault("no \(room) left: state", [], status, isFlooded: true), machine,
        { try machine.fill(room) },
        {
          #expect(daemon.status.contains("the state directory cannot be written"))
          let isAlarmed = daemon.events.contains {
            ($0["priority"] as? Int ?? 7) <= 3 && ($0["message"] as? String ?? "").contains(status)
          }
          #expect(isAlarmed, "\(daemon.said(""))")
          try machine.makeRoom()
        })
    }
  }

  @Test(
    "no byte, or no inode, is left on the disk of control/: badmailfrom stays as it is, and the block waits",
    arguments: FaultyMachine.Room.allCases)
  func fullControl(_ room: FaultyMachine.Room) async throws {
    try await Turnstile.shared.within {
      let machine = try FaultyMachine(setsAside: false, disk: .control)
      try await FaultTests().lifeOf(
        Fault(
          "no \(room) left: control", [], "badmailfrom cannot be written", isFlooded: true,
          isBlockedOnly: true),
        machine, { try machine.fill(room) },
        {
          #expect(machine.badmailfrom == "admin@spam.test\n")
          try machine.makeRoom()
        })
    }
  }

  @Test(
    "the disk is full when the daemon starts: it waits for the ledger, and begins by itself")
  func fullAtStart() async throws {
    try await Turnstile.shared.within {
      let machine = try FaultyMachine(disk: .state, isFull: true)
      let daemon = machine.daemon
      let isWaiting = try await daemon.wait(20) { daemon.pings >= 3 }
      #expect(isWaiting && !daemon.isReady, "\(daemon.status)")
      #expect(daemon.status.contains("cannot use the ledger"))
      try machine.makeRoom()
      #expect(try await daemon.wait(20) { daemon.status.hasPrefix("enforce: ") })
      try await machine.floodNow()
      try await FaultTests().finish(machine)
    }
  }

  @Test(
    "no byte, or no inode, is left on the queue's disk: what is there is set aside all the same, and given back once there is room",
    arguments: FaultyMachine.Room.allCases)
  func fullQueue(_ room: FaultyMachine.Room) async throws {
    try await Turnstile.shared.within {
      let machine = try FaultyMachine(disk: .queue)
      let daemon = machine.daemon
      let what: () -> Comment = {
        "\(room): \(daemon.status)\n\(daemon.said("").joined(separator: "\n"))"
      }
      #expect(try await daemon.wait(20) { daemon.status.hasPrefix("enforce: ") })
      try await machine.floodNow(atMost: 80)
      let isAnswered = try await daemon.wait(40) {
        // What qmail-send removes is taken at once.
        try machine.fill(room)
        return machine.isAnswered && machine.disorder == nil
      }
      #expect(isAnswered, what())
      let isTold = try await daemon.wait(20) {
        try machine.fill(room)
        return daemon.said("storm-began").contains {
          $0.contains(
            "the queue's filesystem is nearly " + (room == .bytes ? "full" : "out of inodes"))
        }
      }
      #expect(isTold, what())
      #expect(
        ["degraded", "block-problem", "quarantine-problem"].flatMap(daemon.said) == [], what())
      #expect(await machine.driver.report.refused > 0)
      let release = [
        try #require(Shim.shared).program, "release", "--sender", "alice@mx.test", "--yes",
      ]
      try machine.fill(room)
      try machine.inNamespace(release + machine.places, status: 75)
      try machine.makeRoom()
      try machine.inNamespace(release + machine.places)
      // A copy is kept until qmail-send has ended the message that it was made of.
      await machine.driver.retryEverything()
      let isGivenBack = try await daemon.wait(20) {
        !machine.isAnswered && machine.disorder == nil
      }
      #expect(isGivenBack, what())
      let reckoning = try await machine.reckoning()
      #expect(reckoning == [], what())
      #expect(try await daemon.stop() == 0)
      try await machine.end()
    }
  }
}
