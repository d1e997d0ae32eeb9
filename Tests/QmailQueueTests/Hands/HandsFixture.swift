import Files
import Fixtures
import Glibc
import Mail
import QmailQueue

/// A made queue (split 3) and an empty place for a store, in a directory of their own that goes away with it.
final class HandsFixture {
  private let folder = TemporaryFolder()
  let home: String
  let layout: QueueLayout
  var queue: String { layout.queue }
  var storePath: String { "\(home)/quarantine" }

  init() throws {
    home = folder.path
    mkdir("\(home)/queue", 0o755)
    mkdir("\(home)/bin", 0o755)
    for folder in ["mess", "info", "local", "remote", "todo", "intd", "bounce", "pid", "lock"] {
      mkdir("\(home)/queue/\(folder)", 0o755)
      guard ["mess", "info", "local", "remote"].contains(folder) else { continue }
      for part in 0..<3 { mkdir("\(home)/queue/\(folder)/\(part)", 0o755) }
    }
    layout = try QueueLayout.read(qmail: home)
  }

  func store() throws -> QuarantineStore { try QuarantineStore(path: storePath, creating: true) }

  func write(_ text: String, to path: String, mode: mode_t = 0o600) throws {
    unlink(path)
    let file = try Descriptor.open(path, [.write, .create, .truncate], mode: mode)
    try file.write(Array(text.utf8), at: 0)
    try file.setPermissions(mode)
  }

  func read(_ path: String) -> String? {
    guard let bytes = try? Descriptor.open(path).readAll(limit: 1 << 24) else { return nil }
    return String(decoding: bytes, as: UTF8.self)
  }

  func exists(_ path: String) -> Bool { (try? FileStatus.of(path)) != nil }

  /// Sets mtime, as the birth that identifies an entry.
  func setBirth(_ path: String, _ birth: Timestamp) {
    let time = timespec(
      tv_sec: Int(birth.nanoseconds / 1_000_000_000),
      tv_nsec: Int(birth.nanoseconds % 1_000_000_000))
    utimensat(AT_FDCWD, path, [time, time], 0)
  }

  static let birth = Timestamp(nanoseconds: 1_764_000_000_123_456_789)

  /// An entry as qmail-send leaves it after preprocessing. Records with their letters: `"Ta@b"`, `"Dc@d"`.
  @discardableResult
  func entry(
    _ id: UInt64, sender: String = "alice@mx.test", local: [String] = [], remote: [String] = [],
    bounce: String? = nil, birth: Timestamp = birth, message: String = "Received: x\n\nbody\n"
  ) throws -> EntryIdentity {
    try write(message, to: layout.path(.mess, id))
    try write("F\(sender)\0", to: layout.path(.info, id))
    setBirth(layout.path(.info, id), birth)
    for (kind, records) in [(QueueFile.local, local), (.remote, remote)] where !records.isEmpty {
      try write(records.map { $0 + "\0" }.joined(), to: layout.path(kind, id))
    }
    if let bounce { try write(bounce, to: layout.path(.bounce, id)) }
    return EntryIdentity(id: id, birth: birth)
  }

  /// Letters of all records, local first: `"TD"`.
  func letters(_ id: UInt64) -> String {
    var letters = ""
    for kind in [QueueFile.local, .remote] {
      for record in (read(layout.path(kind, id)) ?? "").split(separator: "\0") {
        letters += record.prefix(1)
      }
    }
    return letters
  }

  /// What qmail-send does when it has finished a recipient.
  func markDone(_ kind: QueueFile, _ id: UInt64, at offset: Int64) throws {
    try Descriptor.open(layout.path(kind, id), .write).write([0x44], at: offset)
  }

  /// What qmail-send does at the end of a message.
  func finish(_ id: UInt64) {
    for kind in [QueueFile.local, .remote, .info, .mess] { unlink(layout.path(kind, id)) }
  }

  /// Everything in `queue/bounce` and its text.
  func bounces() throws -> [String: String] {
    var found: [String: String] = [:]
    for name in try Descriptor.open("\(queue)/bounce", .directory).names() {
      found[name] = read("\(queue)/bounce/\(name)")
    }
    return found
  }

  /// A look at made processes: command lines as NUL-separated words, by comm.
  func look(_ processes: [(comm: String, words: [String], stdin: String?)] = []) throws
    -> DeliveriesInFlight
  {
    let proc = "\(home)/proc"
    TemporaryFolder.remove(proc)
    mkdir(proc, 0o755)
    mkdir("\(proc)/1", 0o755)
    try write("init\n", to: "\(proc)/1/comm")
    for (index, process) in processes.enumerated() {
      let folder = "\(proc)/\(1000 + index)"
      mkdir(folder, 0o755)
      mkdir("\(folder)/fd", 0o755)
      try write("\(process.comm)\n", to: "\(folder)/comm")
      try write(process.words.map { $0 + "\0" }.joined(), to: "\(folder)/cmdline")
      try write("\(1000 + index) (\(process.comm)) S 1000 1 1", to: "\(folder)/stat")
      if let stdin = process.stdin { symlink(stdin, "\(folder)/fd/0") }
    }
    mkdir("\(proc)/self", 0o755)
    return try DeliveriesInFlight.look(proc: proc)
  }

  /// All steps up to and with ``Retirement/mark()``.
  @discardableResult
  func retire(
    _ identity: EntryIdentity, sender: String = "alice@mx.test", into store: QuarantineStore
  )
    throws -> Retirement.Marks
  {
    var retirement = try Retirement.open(identity, sender: Address(sender), in: layout)
    try retirement.copy(into: store, at: identity.birth, boot: "boot")
    try store.syncBatch()
    try retirement.moveBounceAside(into: store)
    try store.syncBatch()
    let marks = try retirement.mark()
    try retirement.noteDeliveries(try look())
    return marks
  }
}

extension Recovery {
  /// With one look for all.
  static func finish(
    _ identity: EntryIdentity, in layout: QueueLayout, store: QuarantineStore,
    look: DeliveriesInFlight, boot: String
  ) throws(RetirementRefusal) -> Outcome {
    try finish(identity, in: layout, store: store, look: look, boot: boot) {
      () throws(RetirementRefusal) in look
    }
  }
}
