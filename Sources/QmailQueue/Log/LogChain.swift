import Files
import Mail

/// The files that one log is made of: those that rotation set aside, oldest first, and the one written to now.
struct LogChain {
  struct Link {
    var path: String
    var inode: UInt64
    var size: Int64
    /// When it was set aside: by multilog's name for it, else by its mtime.
    var closed: Timestamp
  }

  /// Without the one written to now.
  var old: [Link] = []
  /// nil while there is none: between two steps of a rotation, or not yet.
  var current: Link?

  var all: [Link] { old + (current.map { [$0] } ?? []) }

  /// Looks at a log.
  /// - Parameter place: the directory and the name of the file written to.
  static func look(_ place: LogPlace) throws(FileError) -> LogChain {
    var chain = LogChain()
    let folder = try Descriptor.open(place.folder, [.directory, .following])
    for name in try folder.names() where name != place.name {
      let path = "\(place.folder)/\(name)"
      guard let stamp = place.stamp(ofOld: name),
        let status = try? FileStatus.of(path), status.isRegular
      else { continue }
      chain.old.append(
        Link(
          path: path, inode: status.inode, size: status.size,
          closed: stamp == .byTime ? status.modified : stamp.time))
    }
    // Compressing and copying take long; the name keeps apart what was set aside in the same instant.
    chain.old.sort { ($0.closed, $1.path) < ($1.closed, $0.path) }
    if let status = try? FileStatus.of(place.path, following: true), status.isRegular {
      chain.current = Link(
        path: place.path, inode: status.inode, size: status.size, closed: status.modified)
      chain.old.removeAll { $0.inode == status.inode }
    }
    return chain
  }

  /// What follows the file of this inode; nil when that file is not here any more.
  func after(_ inode: UInt64) -> [Link]? {
    let links = all
    return links.firstIndex { $0.inode == inode }.map { Array(links[($0 + 1)...]) }
  }
}

/// Where a log is written: a file, or `current` in a multilog directory.
struct LogPlace: Hashable {
  var folder: String
  var name: String
  var isMultilog: Bool

  var path: String { folder == "/" ? "/\(name)" : "\(folder)/\(name)" }

  /// - Parameter path: a directory is taken for multilog's.
  init(_ path: String) {
    if let status = try? FileStatus.of(path, following: true), status.isDirectory {
      self.init(folder: path, name: "current", isMultilog: true)
      return
    }
    let cut = path.lastIndex(of: "/")
    let name = cut.map { String(path[path.index(after: $0)...]) } ?? path
    let folder = cut.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    // `current` written out means the same.
    self.init(folder: folder, name: name, isMultilog: name == "current")
  }

  private init(folder: String, name: String, isMultilog: Bool) {
    self.folder = folder
    self.name = name
    self.isMultilog = isMultilog
  }

  enum Stamp: Equatable {
    case byTime
    case byName(Timestamp)

    var time: Timestamp {
      switch self {
      case .byTime: Timestamp(nanoseconds: 0)
      case .byName(let time): time
      }
    }
  }

  /// How a file that rotation set aside is dated; nil: the name is none of this log's, or what it holds is compressed.
  func stamp(ofOld other: String) -> Stamp? {
    if isMultilog {
      // `@TAI64N.s` closed in good order, `.u` after a crash (multilog(8)).
      let bytes = Array(other.utf8)
      guard bytes.count == 27, bytes[0] == UInt8(ascii: "@"), bytes[25] == UInt8(ascii: "."),
        bytes[26] == UInt8(ascii: "s") || bytes[26] == UInt8(ascii: "u")
      else { return nil }
      return LogStamp.label(bytes[1..<25]).map { .byName($0) }
    }
    guard other.count > name.count + 1, other.hasPrefix(name) else { return nil }
    let rest = other.dropFirst(name.count)
    // `.1`, `-20261123`, `.2026-11-23`.
    guard rest.hasPrefix(".") || rest.hasPrefix("-"), rest.dropFirst().first?.isNumber == true,
      ![".gz", ".bz2", ".xz", ".zst", ".lz4", ".Z"].contains(where: { rest.hasSuffix($0) })
    else { return nil }
    return .byTime
  }
}
