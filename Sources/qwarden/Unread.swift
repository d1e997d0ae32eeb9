import ArgumentParser
import Files
import QmailQueue
import Synchronization

/// Messages that a command could not read: told at once, and what it exits with in the end.
final class Unread: Sendable {
  private let code = Mutex<Int32>(0)

  /// - Parameter other: the exit code where it is damage and not a missing right; 0: the rest is good all the same.
  func complain(_ damaged: [DamagedMessage], exit other: Int32 = 0) {
    for damaged in damaged {
      Output.complain("message \(damaged.id): \(damaged.why)")
      note(damaged.isForbidden ? Exit.noPermission : other)
    }
  }

  func note(_ exit: Int32) {
    code.withLock { if $0 != Exit.noPermission, exit != 0 { $0 = exit } }
  }

  func finish() throws {
    let code = code.withLock { $0 }
    if code != 0 { throw ExitCode(code) }
  }
}
