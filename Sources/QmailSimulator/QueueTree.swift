import Files
import Glibc
import Mail
import QmailQueue

/// The files of `QMAIL/queue` and the few calls that the two simulated programs make on them.
struct QueueTree: Sendable {
  let qmail: String
  let queue: String
  let split: UInt64
  let todoIsSplit: Bool
  let intdIsSplit: Bool

  init(qmail: String, split: Int, todoIsSplit: Bool, intdIsSplit: Bool) {
    self.qmail = qmail
    queue = qmail + "/queue"
    self.split = UInt64(max(1, split))
    self.todoIsSplit = todoIsSplit
    self.intdIsSplit = intdIsSplit
  }

  /// Reads the layout off an existing directory, as qmail itself has it compiled in.
  init(reading qmail: String) throws(FileError) {
    func folders(_ name: String) throws(FileError) -> Int {
      var count = 0
      try Descriptor.open("\(qmail)/queue/\(name)", [.directory, .following]).forEachName {
        if $1, $0.queueNumber != nil { count += 1 }
      }
      return count
    }
    self.init(
      qmail: qmail, split: try folders("mess"), todoIsSplit: try folders("todo") > 0,
      intdIsSplit: try folders("intd") > 0)
  }

  func isSplit(_ kind: QueueFile) -> Bool {
    switch kind {
    case .mess, .info, .local, .remote: true
    case .todo: todoIsSplit
    case .intd: intdIsSplit
    case .bounce: false
    }
  }

  func path(_ kind: QueueFile, _ id: UInt64) -> String { "\(queue)/\(name(kind, id))" }

  /// `mess/13/1412638`, as qmail's own messages name it.
  func name(_ kind: QueueFile, _ id: UInt64) -> String {
    isSplit(kind) ? "\(kind.rawValue)/\(id % split)/\(id)" : "\(kind.rawValue)/\(id)"
  }

  /// Makes the directories (instcheck.c has the modes), the lock files and the trigger. Existing ones are left alone.
  func create() throws(FileError) {
    try folder(qmail, 0o755)
    for name in ["bin", "control"] { try folder("\(qmail)/\(name)", 0o755) }
    try folder(queue, 0o750)
    for kind in QueueFile.allCases {
      let mode: mode_t = kind == .mess || kind == .todo ? 0o750 : 0o700
      try folder("\(queue)/\(kind.rawValue)", mode)
      guard isSplit(kind) else { continue }
      for n in 0..<split { try folder("\(queue)/\(kind.rawValue)/\(n)", mode) }
    }
    try folder("\(queue)/pid", 0o700)
    try folder("\(queue)/lock", 0o750)
    _ = try Descriptor.open("\(queue)/lock/sendmutex", [.write, .create], mode: 0o600)
    let tcpto = try Descriptor.open("\(queue)/lock/tcpto", [.write, .create], mode: 0o644)
    if try tcpto.status().size == 0 {
      try tcpto.write([UInt8](repeating: 0, count: 1024), at: 0)
    }
    if mkfifo("\(queue)/lock/trigger", 0o622) != 0, errno != EEXIST {
      throw FileError("create", "\(queue)/lock/trigger")
    }
    // mkfifo cuts the mode by the umask.
    chmod("\(queue)/lock/trigger", 0o622)
  }

  /// A file of its directory's owner, so that a queue given to qmail's users stays theirs when root plays qmail.
  func create(
    _ path: String, _ access: Descriptor.Access = [.write, .create, .exclusive],
    mode: mode_t = 0o600
  ) throws(FileError) -> Descriptor {
    let file = try Descriptor.open(path, access, mode: mode)
    try Folder.hand(file)
    return file
  }

  private func folder(_ path: String, _ mode: mode_t) throws(FileError) {
    if mkdir(path, mode) != 0, errno != EEXIST { throw FileError("create", path) }
  }

  /// The numbers in a split or flat directory, ascending; names that are no numbers are passed over.
  func numbers(_ kind: QueueFile) throws(FileError) -> [UInt64] {
    var ids: [UInt64] = []
    func list(_ path: String) throws(FileError) {
      try Descriptor.open(path, .directory).forEachName { name, isDirectory in
        if !isDirectory, let id = name.queueNumber { ids.append(id) }
      }
    }
    if isSplit(kind) {
      for n in 0..<split { try list("\(queue)/\(kind.rawValue)/\(n)") }
    } else {
      try list("\(queue)/\(kind.rawValue)")
    }
    return ids.sorted()
  }

  /// nil where that cannot be told: qmail-send then tries again later.
  func exists(_ kind: QueueFile, _ id: UInt64) -> Bool? {
    do {
      _ = try FileStatus.of(path(kind, id))
      return true
    } catch { return error.code == ENOENT ? false : nil }
  }

  /// True also when it was not there.
  func remove(_ kind: QueueFile, _ id: UInt64) -> Bool {
    Glibc.unlink(path(kind, id)) == 0 || errno == ENOENT
  }

  /// Sets access and modification time of an open file.
  static func stamp(_ file: borrowing Descriptor, _ time: Timestamp) {
    let value = timespec(
      tv_sec: Int(time.nanoseconds / 1_000_000_000),
      tv_nsec: Int(time.nanoseconds % 1_000_000_000))
    _ = futimens(file.number, [value, value])
  }
}
