import Files

/// Who owns what in a queue, and with which mode (`hier.c`; qmail-queue and qmail-send for the files).
///
/// The accounts' numbers differ from server to server, so they are read off the queue: `mess` is qmailq's, `info` is qmails'.
struct QueueOwners {
  /// qmailq's and qmails' uid.
  let queue: UInt32
  let send: UInt32

  init(_ layout: QueueLayout) throws(QueueError) {
    do {
      queue = try FileStatus.of("\(layout.queue)/mess", following: true).uid
      send = try FileStatus.of("\(layout.queue)/info", following: true).uid
    } catch { throw QueueError(error) }
  }

  private func directories(_ layout: QueueLayout) -> [(path: String, owner: UInt32, mode: UInt32)] {
    var expected: [(path: String, owner: UInt32, mode: UInt32)] = [
      ("mess", queue, 0o750), ("todo", queue, 0o750), ("intd", queue, 0o700),
      ("pid", queue, 0o700), ("lock", queue, 0o750),
      ("info", send, 0o700), ("local", send, 0o700), ("remote", send, 0o700),
      ("bounce", send, 0o700),
    ]
    for (path, owner, mode) in expected {
      if let kind = QueueFile(rawValue: path), layout.isSplit(kind) {
        expected += (0..<layout.split).map { ("\(path)/\($0)", owner, mode) }
      }
    }
    return expected
  }

  /// What a path in the queue should be; nil for what is not qmail's, or is not known here.
  func expected(_ path: String, _ layout: QueueLayout) -> (owner: UInt32, mode: UInt32)? {
    switch path {
    case "lock/sendmutex": return (send, 0o600)
    case "lock/trigger": return (send, 0o622)
    default: break
    }
    if let found = directories(layout).first(where: { $0.path == path }) {
      return (found.owner, found.mode)
    }
    let parts = path.split(separator: "/")
    guard parts.count > 1, let kind = QueueFile(rawValue: String(parts[0])),
      UInt64(parts[parts.count - 1]) != nil
    else { return nil }
    return expected(kind)
  }

  private func expected(_ kind: QueueFile) -> (owner: UInt32, mode: UInt32) {
    switch kind {
    case .mess, .todo, .intd: (queue, 0o644)
    case .info, .local, .remote, .bounce: (send, 0o600)
    }
  }

  /// Every directory that qmail needs: missing, of another owner, or of a mode that locks qmail out or lets others write.
  func directoryFaults(_ layout: QueueLayout) throws(QueueError) -> [QueueFinding] {
    var found: [QueueFinding] = []
    for (path, owner, mode) in directories(layout) {
      do {
        let status = try FileStatus.of("\(layout.queue)/\(path)", following: true)
        found += fault(path, status, owner: owner, mode: mode)
      } catch {
        guard error.isMissing else { throw QueueError(error) }
        found.append(QueueFinding(fault: .missing, path: path, detail: "a directory"))
      }
    }
    return found
  }

  /// Of a message's file.
  func fault(of file: QueueName) -> QueueFinding? {
    let (owner, mode) = expected(file.kind)
    return file.ownershipFault(owner: owner, mode: mode)
  }

  func fault(_ path: String, _ status: FileStatus, owner: UInt32, mode: UInt32) -> [QueueFinding] {
    let fault = Self.fault(
      path, uid: status.uid, mode: status.permissions, .init(status), owner: owner, expected: mode)
    return fault.map { [$0] } ?? []
  }

  static func fault(
    _ path: @autoclosure () -> String, uid: UInt32, mode: UInt32, _ witness: QueueFinding.Witness,
    owner: UInt32, expected: UInt32
  ) -> QueueFinding? {
    if uid != owner {
      return QueueFinding(
        fault: .wrongOwner, path: path(), detail: "uid \(uid), not \(owner)", witness: witness)
    }
    // setgid on a directory is the administrator's affair.
    let found = mode & 0o777
    if found == expected { return nil }
    return QueueFinding(
      fault: .wrongMode, path: path(),
      detail: "0\(String(found, radix: 8)), not 0\(String(expected, radix: 8))",
      witness: witness)
  }
}
