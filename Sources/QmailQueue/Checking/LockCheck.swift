import Files
import Glibc
import Mail

/// The three files in `lock`: sendmutex (only one qmail-send), trigger (new mail is there), tcpto (hosts that do not answer).
struct LockCheck {
  private let folder: String
  private let owners: QueueOwners
  private let layout: QueueLayout

  init(_ layout: QueueLayout, _ owners: QueueOwners) {
    self.layout = layout
    self.owners = owners
    folder = "\(layout.queue)/lock"
  }

  func faults(at now: Timestamp) -> [QueueFinding] {
    sendmutex + trigger + tcpto(at: now)
  }

  private var sendmutex: [QueueFinding] {
    guard let status = try? FileStatus.of("\(folder)/sendmutex") else {
      return [QueueFinding(fault: .missing, path: "lock/sendmutex")]
    }
    return owners.fault("lock/sendmutex", status, owner: owners.send, mode: 0o600)
  }

  private var trigger: [QueueFinding] {
    let path = "lock/trigger"
    guard let status = try? FileStatus.of("\(folder)/trigger") else {
      return [QueueFinding(fault: .missing, path: path)]
    }
    guard status.mode & S_IFMT == S_IFIFO else {
      return [QueueFinding(fault: .triggerNoFIFO, path: path, witness: .init(status))]
    }
    let wrong = owners.fault(path, status, owner: owners.send, mode: 0o622)
    guard QmailSend.isRunning(layout) == true, !hasReader("\(folder)/trigger") else { return wrong }
    return wrong + [QueueFinding(fault: .triggerDead, path: path, witness: .init(status))]
  }

  /// Opened for writing as qmail-queue does, which wakes qmail-send once, and nothing is written. qmail-send closes and opens the
  /// FIFO anew each time it has been woken: between the two it has no reader, so a few tries.
  private func hasReader(_ path: String) -> Bool {
    for attempt in 0..<5 {
      do {
        _ = try Descriptor.open(path, .write)
        return true
      } catch {
        if error.code != ENXIO { return true }
      }
      if attempt < 4 { usleep(20_000) }
    }
    return false
  }

  /// 64 records of 16 bytes (tcpto.c): address 4, tries 1, then at 8 the time in 4 bytes, least first.
  private func tcpto(at now: Timestamp) -> [QueueFinding] {
    let path = "lock/tcpto"
    let status: FileStatus
    let bytes: [UInt8]
    do {
      let file = try Descriptor.open("\(folder)/tcpto")
      status = try file.status()
      bytes = try file.read(limit: 1024)
    } catch {
      return error.isMissing ? [QueueFinding(fault: .missing, path: path)] : []
    }
    // Builds for IPv6 have longer records, and so a longer file: only the stock size is understood.
    guard status.size == 1024 else {
      return status.size > 1024 && status.size % 1024 == 0
        ? []
        : [
          QueueFinding(
            fault: .tcptoSize, path: path, detail: "\(status.size) bytes, not 1024",
            witness: .init(status))
        ]
    }
    let ahead = stride(from: 0, to: 1024, by: 16).count { at in
      let when = (0..<4).reduce(0) { $0 | Int64(bytes[at + 8 + $1]) << (8 * Int64($1)) }
      return bytes[at + 4] >= 2 && Double(when) > now.seconds + 60
    }
    return ahead == 0
      ? []
      : [
        QueueFinding(
          fault: .tcptoAhead, path: path, detail: ahead == 1 ? "1 host" : "\(ahead) hosts",
          witness: .init(status))
      ]
  }
}
