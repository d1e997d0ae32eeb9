import Files
import Fixtures
import Testing

@Suite(
  "An editor that has badmailfrom open",
  .enabled(if: Shim.shared != nil, "needs a C compiler and the built program"))
struct OpenEditorTests {
  @Test("the daemon says what it waits for, and writes below the editor's line when that is closed")
  func waits() async throws {
    try await Turnstile.shared.within {
      let machine = try FaultyMachine(setsAside: false)
      let daemon = machine.daemon
      let what: () -> Comment = { "\(daemon.status)\n\(daemon.said("").joined(separator: "\n"))" }
      #expect(try await daemon.wait(20) { daemon.status.hasPrefix("enforce: ") }, what())
      let edited = "admin@spam.test\nbyhand@bad.test\n"
      do {
        let editor = try Descriptor.open(
          "\(machine.watched.qmail)/control/badmailfrom", .readWrite)
        try await machine.floodNow()
        let isTold = try await daemon.wait(30) {
          daemon.status.contains("badmailfrom cannot be written")
            && daemon.said("block-problem").contains { $0.contains("close the editor") }
        }
        #expect(isTold, what())
        let event = daemon.events.first { $0["event"] as? String == "block-problem" }
        #expect(event?["action"] as? String == "block" && event?["mode"] as? String == "enforce")
        #expect(machine.watched.badmailfrom == "admin@spam.test\n", what())
        try editor.write(Array(edited.utf8), at: 0)
      }
      let isWritten = try await daemon.wait(40) {
        machine.isAnswered && daemon.said("restored").count == 1
      }
      #expect(isWritten, what())
      #expect(machine.watched.badmailfrom.hasPrefix(edited), what())
      #expect(try await daemon.stop() == 0)
      try await machine.end()
    }
  }
}
