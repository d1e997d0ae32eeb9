import Files

/// One file of a message, by its place and number; small, because a queue may hold millions.
struct QueueName: Sendable {
  let kind: QueueFile
  let id: UInt64
  /// The subdirectory it stands in; nil where the kind is flat.
  let part: UInt32?
  private let uid: UInt32
  private let mode: UInt32
  let witness: QueueFinding.Witness

  init(kind: QueueFile, id: UInt64, part: UInt32?, _ status: FileStatus) {
    self.kind = kind
    self.id = id
    self.part = part
    uid = status.uid
    mode = status.permissions
    witness = QueueFinding.Witness(status)
  }

  /// A path as the first look wrote it, with what stands there now; nil when that is not a message's file.
  init?(path: String, _ status: FileStatus) {
    let parts = path.split(separator: "/")
    guard let first = parts.first, let kind = QueueFile(rawValue: String(first)),
      let last = parts.last, let id = UInt64(last)
    else { return nil }
    self.init(kind: kind, id: id, part: parts.count == 3 ? UInt32(parts[1]) : nil, status)
  }

  /// Relative to the queue directory.
  var path: String {
    part.map { "\(kind.rawValue)/\($0)/\(id)" } ?? "\(kind.rawValue)/\(id)"
  }

  func finding(_ fault: QueueFault, _ detail: String? = nil) -> QueueFinding {
    QueueFinding(fault: fault, path: path, detail: detail, witness: witness)
  }

  /// What is wrong with owner or mode, where these are expected.
  func ownershipFault(owner: UInt32, mode expected: UInt32) -> QueueFinding? {
    QueueOwners.fault(path, uid: uid, mode: mode, witness, owner: owner, expected: expected)
  }
}

/// All names in a queue as one look finds them.
struct NameList {
  private(set) var files: [QueueName] = []
  /// What is neither a message's file nor a directory of the layout.
  private(set) var strays: [QueueFinding] = []
  /// Names in `bounce` that qwarden gave.
  private(set) var asides: [(path: String, status: FileStatus)] = []
  private var numbers: [QueueFile: Set<UInt64>] = [.mess: [], .info: [], .todo: []]

  init(_ layout: QueueLayout) throws(QueueError) {
    // Messages come before envelopes and go after them: in this order a look finds the fewest that only seem orphans.
    for kind in [QueueFile.bounce, .local, .remote, .info, .intd, .todo, .mess] {
      guard let top = try Self.open("\(layout.queue)/\(kind.rawValue)", kind) else { continue }
      guard layout.isSplit(kind) else {
        try read(top, kind, part: nil, kind.rawValue)
        continue
      }
      try read(top, kind, part: nil, kind.rawValue, directories: UInt64(layout.split))
      for part in 0..<UInt32(layout.split) {
        let path = "\(kind.rawValue)/\(part)"
        guard let folder = try Self.open("\(layout.queue)/\(path)", kind) else { continue }
        try read(folder, kind, part: part, path)
      }
    }
  }

  /// Whether a file of this kind (mess, info or todo) and number was there.
  func has(_ kind: QueueFile, _ id: UInt64) -> Bool { numbers[kind]?.contains(id) ?? false }

  /// A directory that is missing is told by ``QueueOwners/directoryFaults(_:)``.
  private static func open(_ path: String, _ kind: QueueFile) throws(QueueError) -> Descriptor? {
    do { return try Descriptor.open(path, [.directory, .following]) } catch {
      if error.isMissing { return nil }
      throw QueueError(error)
    }
  }

  /// - Parameter directories: where directories `0 … n-1` are expected, and no files.
  private mutating func read(
    _ folder: borrowing Descriptor, _ kind: QueueFile, part: UInt32?, _ path: String,
    directories: UInt64? = nil
  ) throws(QueueError) {
    var names: [(name: String, number: UInt64?)] = []
    do {
      try folder.forEachItem {
        names.append((String(decoding: $0.name, as: UTF8.self), $0.name.queueNumber))
      }
    } catch { throw QueueError(error) }
    for (name, number) in names {
      // Gone meanwhile, or a name that is not UTF-8, of which only the directory can be told.
      guard let status = try? folder.status(of: name) else {
        if name.contains("\u{FFFD}"), let status = try? folder.status() {
          stray("\(path)/\(name)", status, "a name that is not text")
        }
        continue
      }
      let place = "\(path)/\(name)"
      if let directories {
        if let number, number < directories { continue }
        stray(
          place, status,
          number == nil
            ? nil : "a directory beyond \(directories - 1), as of an earlier conf-split")
      } else if let number, status.isRegular {
        files.append(QueueName(kind: kind, id: number, part: part, status))
        numbers[kind]?.insert(number)
      } else if kind == .bounce, name.hasPrefix("qwarden."), status.isRegular {
        asides.append((place, status))
      } else {
        stray(place, status, number == nil ? nil : "a queue number, but not a regular file")
      }
    }
  }

  private mutating func stray(_ path: String, _ status: FileStatus, _ detail: String?) {
    strays.append(
      QueueFinding(fault: .junk, path: path, detail: detail, witness: .init(status)))
  }
}
