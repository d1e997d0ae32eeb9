import Files
import Glibc
import Mail

/// Mends what is wrong in a queue and can be mended without a doubt, while qmail-send is stopped. Nothing is destroyed: what must leave the queue
/// moves to a lost-and-found directory.
public struct QueueMend: Sendable {
  /// What is done about one finding.
  public enum Action: Sendable, Hashable, CustomStringConvertible {
    /// To the lost-and-found directory; paths in the queue.
    case moveAway([String])
    case move(to: String)
    case setRights(owner: UInt32, mode: UInt32)
    case makeTrigger
    /// As qmail-tcpok does: no host is remembered.
    case clearTcpto

    public var description: String {
      switch self {
      case .moveAway(let paths): "move \(paths.joined(separator: ", ")) to lost+found"
      case .move(let path): "move it to \(path)"
      case .setRights(let owner, let mode):
        "give it to uid \(owner) with mode 0\(String(mode, radix: 8))"
      case .makeTrigger: "make it, a FIFO"
      case .clearTcpto: "forget the hosts in it, as qmail-tcpok does"
      }
    }
  }

  public struct Step: Sendable, Hashable {
    public var finding: QueueFinding
    /// nil: left to the administrator.
    public var action: Action?
  }

  /// Steps done while qmail-send is kept from starting; then it has a chance.
  private static let batch = 256
  private let layout: QueueLayout
  private let owners: QueueOwners
  private let lostAndFound: String

  /// - Parameter lostAndFound: a directory of our own, made when it is needed; its parent must exist.
  public init(layout: QueueLayout, lostAndFound: String) throws(QueueError) {
    self.layout = layout
    owners = try QueueOwners(layout)
    self.lostAndFound = lostAndFound
  }

  // MARK: The plan

  /// What would be done about each finding that is no mere note.
  public func plan(_ findings: [QueueFinding], at now: Timestamp) -> [Step] {
    findings.filter { !$0.fault.isNote || $0.fault == .bounceAside }
      .map { Step(finding: $0, action: action(for: $0, at: now)) }
  }

  private func action(for finding: QueueFinding, at now: Timestamp) -> Action? {
    let path = finding.path
    let place = Place(path, layout)
    // Only what is older than any qmail-queue, which ends itself after 24 hours, and than qmail-send's own patience.
    let isOld = finding.witness.map { $0.modified < now - OrphanCheck.ossified } ?? false
    switch finding.fault {
    case .messAlone, .infoWithoutMess, .todoWithoutMess, .intdLeftover, .channelWithoutInfo,
      .bounceWithoutInfo:
      guard isOld, let place, place.isRight else { return nil }
      return .moveAway(companions(of: place, finding.fault))
    case .bounceAside: return isOld ? .moveAway([path]) : nil
    case .wrongDirectory:
      guard let place, let status = status(path), status.isRegular,
        place.kind != .mess || status.inode == place.id, self.status(place.rightPath) == nil
      else { return nil }
      return .move(to: place.rightPath)
    case .wrongOwner, .wrongMode:
      return owners.expected(path, layout).map { .setRights(owner: $0.owner, mode: $0.mode) }
    case .missing where path == "lock/trigger", .triggerNoFIFO: return .makeTrigger
    case .tcptoSize, .tcptoAhead: return .clearTcpto
    case .writing, .wrongNumber, .junk, .missing, .triggerDead: return nil
    }
  }

  /// A message's file by its path in the queue.
  private struct Place {
    let kind: QueueFile
    let id: UInt64
    let rightPath: String
    let isRight: Bool

    init?(_ path: String, _ layout: QueueLayout) {
      let parts = path.split(separator: "/")
      guard let first = parts.first, let kind = QueueFile(rawValue: String(first)),
        let last = parts.last, let id = UInt64(last)
      else { return nil }
      self.kind = kind
      self.id = id
      rightPath = String(layout.path(kind, id).dropFirst(layout.queue.utf8.count + 1))
      isRight = rightPath == path
    }
  }

  /// The file itself and those that have no use without it.
  private func companions(of place: Place, _ fault: QueueFault) -> [String] {
    let kinds: [QueueFile] =
      switch fault {
      case .messAlone: [.intd, .mess]
      case .infoWithoutMess: [.local, .remote, .bounce, .info]
      case .todoWithoutMess: [.intd, .todo]
      default: [place.kind]
      }
    return kinds.compactMap { kind in
      let path = String(layout.path(kind, place.id).dropFirst(layout.queue.utf8.count + 1))
      return status(path) == nil ? nil : path
    }
  }

  // MARK: The work

  /// Carries out a plan, each step only if its finding still holds.
  /// - Parameter told: of each step: nil when it was done, else why not.
  /// - Throws: `.running` when qmail-send is not stopped; what was not told of was not touched then.
  public func carryOut(
    _ steps: [Step], at now: Timestamp, _ told: (Step, _ failure: String?) -> Void
  ) throws(MendError) {
    var rest = steps.filter { $0.action != nil }[...]
    while !rest.isEmpty {
      let lot = rest.prefix(Self.batch)
      rest = rest.dropFirst(Self.batch)
      let taken: FileLock?
      do throws(FileError) { taken = try QmailSend.holdOff(layout) } catch { throw .file(error) }
      guard let lock = taken else { throw .running }
      let standing: Set<QueueFinding>
      do throws(QueueError) {
        standing = Set(
          try QueueCheck(layout: layout).confirmed(lot.map(\.finding), at: now))
      } catch { throw .queue(error) }
      for step in lot {
        guard let action = step.action else { continue }
        // Moved together with an earlier one of the same message, or mended by itself.
        if !standing.contains(step.finding) || (isMove(action) && status(step.finding.path) == nil)
        {
          told(step, status(step.finding.path) == nil ? nil : "it is not as it was any more")
          continue
        }
        do throws(FileError) {
          try perform(action, on: step.finding.path)
          told(step, nil)
        } catch { told(step, error.description) }
      }
      _ = consume lock
    }
  }

  private func isMove(_ action: Action) -> Bool {
    if case .moveAway = action { true } else { false }
  }

  private func perform(_ action: Action, on path: String) throws(FileError) {
    let whole = "\(layout.queue)/\(path)"
    switch action {
    case .moveAway(let paths): for path in paths { try moveAway(path) }
    case .move(let right):
      let target = "\(layout.queue)/\(right)"
      // link(2) never replaces what has come there meanwhile.
      guard link(whole, target) == 0 else { throw FileError("give the name \(target)", whole) }
      guard unlink(whole) == 0 else { throw FileError("remove", whole) }
    case .setRights(let owner, let mode):
      let file = try open(whole)
      let status = try file.status()
      try file.setOwner(uid: owner, gid: status.gid)
      // setgid on a directory is the administrator's affair.
      try file.setPermissions(mode | status.permissions & 0o2000)
    case .makeTrigger:
      if status(path) != nil { try moveAway(path) }
      guard mkfifo(whole, 0o622) == 0 else { throw FileError("make", whole) }
      let fifo = try Descriptor.open(whole, .readWrite)
      try fifo.setPermissions(0o622)
      try fifo.setOwner(
        uid: owners.send, gid: try FileStatus.of("\(layout.queue)/lock", following: true).gid)
    case .clearTcpto:
      let file = try Descriptor.open(whole, [.readWrite, .truncate])
      try file.write([UInt8](repeating: 0, count: 1024), at: 0)
    }
  }

  private func open(_ path: String) throws(FileError) -> Descriptor {
    let status = try FileStatus.of(path)
    if status.isDirectory { return try Descriptor.open(path, .directory) }
    // A FIFO has no reader now, so it opens for both only.
    return try Descriptor.open(path, status.isRegular ? .read : .readWrite)
  }

  /// Copies a file to the lost-and-found and flushes it before its name in the queue goes: that may be another filesystem.
  private func moveAway(_ path: String) throws(FileError) {
    let source: Descriptor
    do { source = try Descriptor.open("\(layout.queue)/\(path)") } catch {
      if error.isMissing { return }
      throw error
    }
    try Folder.make(lostAndFound)
    let folder = try Descriptor.open(lostAndFound, .directory)
    let status = try source.status()
    let name =
      path.split(separator: "/").joined(separator: ".") + ".\(status.modified.nanoseconds)"
    let temporary = ".\(name).\(getpid())"
    let copy = try folder.open(temporary, [.readWrite, .create, .exclusive], mode: 0o600)
    var at: Int64 = 0
    while true {
      let bytes = try source.read(limit: 1 << 20, from: at)
      if bytes.isEmpty { break }
      try copy.write(bytes, at: at)
      at += Int64(bytes.count)
    }
    try copy.sync()
    try folder.rename(temporary, to: name)
    try folder.sync()
    guard unlink("\(layout.queue)/\(path)") == 0 else {
      throw FileError("remove", "\(layout.queue)/\(path)")
    }
  }

  private func status(_ path: String) -> FileStatus? {
    try? FileStatus.of("\(layout.queue)/\(path)")
  }
}

/// Why the mending of a queue ended.
public enum MendError: Error, Sendable, CustomStringConvertible {
  case running
  case file(FileError)
  case queue(QueueError)

  public var description: String {
    switch self {
    case .running: "qmail-send runs, or cannot be kept from starting: stop it first"
    case .file(let error): error.description
    case .queue(let error): error.description
    }
  }
}
