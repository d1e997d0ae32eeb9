import Files
import Glibc
import Mail
import QmailQueue

/// Why a message was not queued, as qmail-queue(8) says it by its exit code: 11 to 40 are permanent, the others temporary.
public struct QueueRefusal: Error, Hashable, Sendable, CustomStringConvertible {
  public var code: Int32

  public var description: String {
    let reason =
      switch code {
      case 11: "an envelope address is over 1002 bytes"
      case 53: "cannot write: disk full or directory not writable"
      case 54: "the envelope ends too early"
      case 62: "there is no queue directory"
      case 63: "cannot make a file in queue/pid"
      case 64: "cannot link it into queue/mess"
      case 65: "cannot make a file in queue/intd"
      case 66: "cannot link it into queue/todo"
      case 91: "the envelope does not begin with F and then T records"
      default: "internal error"
      }
    return "qmail-queue refused the message (exit \(code)): \(reason)"
  }
}

/// The stand-in for `bin/qmail-queue`: the same steps in the same order (qmail-queue.c), so that a watcher of the directories
/// sees the same events.
public struct SimulatedQueueProgram {
  let tree: QueueTree

  /// Acts as the program: message on descriptor 0, envelope on descriptor 1, uid and pid those of this process, the real clock.
  ///
  /// - Parameter qmail: the simulated `/var/qmail`.
  /// - Returns: the exit code for the process.
  public static func run(qmail: String) -> Int32 { run(qmail: qmail, message: 0, envelope: 1) }

  static func run(qmail: String, message: Int32, envelope: Int32) -> Int32 {
    let tree: QueueTree
    do { tree = try QueueTree(reading: qmail) } catch { return 62 }
    do {
      _ = try SimulatedQueueProgram(tree: tree).queue(
        uid: getuid(), pid: getpid(), at: WallClock.now(), stamped: false, durable: true,
        message: { () throws(QueueRefusal) in try read(from: message) },
        envelope: { () throws(QueueRefusal) in try read(from: envelope) })
      return 0
    } catch { return error.code }
  }

  /// The next bytes of a pipe, empty at its end.
  private static func read(from number: Int32) throws(QueueRefusal) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 65_536)
    while true {
      let n = Glibc.read(number, &bytes, bytes.count)
      if n >= 0 { return Array(bytes[..<n]) }
      if errno != EINTR { throw QueueRefusal(code: 54) }
    }
  }

  /// Queues one message and returns its number, the inode of its file in `mess`.
  ///
  /// - Parameters:
  ///   - stamped: give the files the time `now` instead of the kernel's.
  ///   - durable: fsync where qmail-queue does.
  ///   - message, envelope: give the next bytes at each call, none at the end.
  func queue(
    uid: UInt32, pid: Int32, at now: Timestamp, stamped: Bool, durable: Bool,
    message: () throws(QueueRefusal) -> [UInt8], envelope: () throws(QueueRefusal) -> [UInt8]
  ) throws(QueueRefusal) -> UInt64 {
    let mess = try openPid(pid, now)
    let pidPath = mess.path
    guard let id = try? mess.status().inode else { throw QueueRefusal(code: 63) }
    let messPath = tree.path(.mess, id)
    guard link(pidPath, messPath) == 0 else { throw QueueRefusal(code: 64) }
    guard unlink(pidPath) == 0 else { throw QueueRefusal(code: 63) }
    do throws(QueueRefusal) {
      try fill(
        mess, with: "Received: (qmail \(pid) invoked \(Self.invoker(uid))); \(now.mailDate)\n",
        then: message, durable: durable, stamp: stamped ? now : nil)
    } catch {
      unlink(messPath)
      throw error
    }
    let intdPath = tree.path(.intd, id)
    let intd: Descriptor
    do {
      intd = try tree.create(intdPath, mode: 0o644)
    } catch { throw QueueRefusal(code: 65) }
    var records = EnvelopeCheck()
    do throws(QueueRefusal) {
      try fill(
        intd, with: "u\(uid)\0p\(pid)\0",
        then: { () throws(QueueRefusal) in
          // The end is the empty record and not the end of the stream: who sends may wait for the answer with it open.
          if records.isComplete { return [] }
          let bytes = try envelope()
          return try bytes.isEmpty ? records.end() : records.take(bytes)
        },
        durable: durable, stamp: stamped ? now : nil)
    } catch {
      // As the original: it cleans up after read and write errors, but not after a bad envelope (11, 91).
      if error.code == 53 || error.code == 54 {
        unlink(intdPath)
        unlink(messPath)
      }
      throw error
    }
    guard link(intdPath, tree.path(.todo, id)) == 0 else { throw QueueRefusal(code: 66) }
    pullTrigger()
    return id
  }

  private func openPid(_ pid: Int32, _ now: Timestamp) throws(QueueRefusal) -> Descriptor {
    for sequence in 1..<10 {
      let path = "\(tree.queue)/pid/\(pid).\(now.nanoseconds / 1_000_000_000).\(sequence)"
      if let file = try? tree.create(path, mode: 0o644) { return file }
    }
    throw QueueRefusal(code: 63)
  }

  private func fill(
    _ file: borrowing Descriptor, with head: String,
    then next: () throws(QueueRefusal) -> [UInt8], durable: Bool, stamp: Timestamp?
  ) throws(QueueRefusal) {
    var bytes = Array(head.utf8)
    var offset: Int64 = 0
    while !bytes.isEmpty {
      do { try file.write(bytes, at: offset) } catch { throw QueueRefusal(code: 53) }
      offset += Int64(bytes.count)
      bytes = try next()
    }
    do {
      // The umask of the calling process may be narrower than qmail-queue's 033.
      try file.setPermissions(0o644)
      if durable { try file.sync() }
    } catch { throw QueueRefusal(code: 53) }
    if let stamp { QueueTree.stamp(file, stamp) }
  }

  private static func invoker(_ uid: UInt32) -> String {
    switch uid {
    case SimulatedUser.alias: "by alias"
    case SimulatedUser.qmaild: "from network"
    case SimulatedUser.qmails: "for bounce"
    default: "by uid \(uid)"
    }
  }

  /// Wakes a qmail-send that waits at the FIFO (triggerpull.c); nothing happens when none does.
  private func pullTrigger() {
    guard let trigger = try? Descriptor.open("\(tree.queue)/lock/trigger", .write) else { return }
    _ = Glibc.write(trigger.number, [0], 1)
  }
}

/// Passes an envelope through and stops where qmail-queue would.
private struct EnvelopeCheck {
  private var expected: UInt8? = UInt8(ascii: "F")
  private var length = 0
  private var isInRecord = false

  var isComplete: Bool { expected == nil }

  /// The bytes that belong into `intd`; empty when the envelope is complete.
  mutating func take(_ bytes: [UInt8]) throws(QueueRefusal) -> [UInt8] {
    var kept: [UInt8] = []
    for byte in bytes {
      guard let letter = expected else { break }
      if isInRecord {
        kept.append(byte)
        length += 1
        if byte == 0 {
          isInRecord = false
          expected = UInt8(ascii: "T")
        } else if length >= 1003 {
          throw QueueRefusal(code: 11)
        }
      } else if byte == 0 && letter == UInt8(ascii: "T") {
        expected = nil
      } else if byte == letter {
        kept.append(byte)
        (isInRecord, length) = (true, 0)
      } else {
        throw QueueRefusal(code: 91)
      }
    }
    return kept
  }

  func end() throws(QueueRefusal) -> [UInt8] {
    throw QueueRefusal(code: 54)
  }
}
