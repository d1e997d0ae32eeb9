import CLinux
import Files
import Glibc
import Mail
import Synchronization

/// The queue directory held open. Names are looked up relative to it, so that a message is read from one queue even if another is moved into its place.
public final class OpenQueue: Sendable {
  let top: Descriptor
  let spread: Spread
  let status: FileStatus
  /// The subdirectories of one part held open too, where many files of it are to be read: shorter names are found sooner.
  private let near: Near?
  /// Reading is to leave no trace: the first reading of each file would have the kernel write its inode anew (relatime, see mount(8)), three times
  /// a message. The owners, a bit each, of files where that was refused.
  private let refusing = Atomic<Int>(0)

  private final class Near: Sendable {
    let part: UInt64
    let mess: Descriptor
    let info: Descriptor
    let local: Descriptor
    let remote: Descriptor

    init(_ queue: OpenQueue, _ part: Int) throws(QueueError) {
      self.part = UInt64(part)
      mess = try queue.directory(.mess, part)
      info = try queue.directory(.info, part)
      local = try queue.directory(.local, part)
      remote = try queue.directory(.remote, part)
    }
  }

  public init(opening layout: QueueLayout) throws(FileError) {
    top = try Descriptor.open(layout.queue, [.directory, .following])
    status = try top.status()
    spread = Spread(layout)
    near = nil
  }

  convenience init(_ layout: QueueLayout) throws(QueueError) {
    do { try self.init(opening: layout) } catch { throw QueueError(error) }
  }

  /// The same queue, quicker for the numbers of one split part.
  init(_ queue: OpenQueue, near part: Int) throws(QueueError) {
    spread = queue.spread
    status = queue.status
    do { top = try queue.top.open(".", .directory) } catch { throw QueueError(error) }
    near = try Near(queue, part)
  }

  /// Where a file is: a directory and a name relative to it.
  private func place(_ kind: QueueFile, _ id: UInt64) -> (directory: Int32, name: QueuePath) {
    if let near, id % spread.split == near.part {
      switch kind {
      case .mess: return (near.mess.number, QueuePath(id))
      case .info: return (near.info.number, QueuePath(id))
      case .local: return (near.local.number, QueuePath(id))
      case .remote: return (near.remote.number, QueuePath(id))
      default: break
      }
    }
    return (top.number, QueuePath(spread, kind, id))
  }

  /// A file opened for reading, or why not.
  enum Opening {
    case file(Int32)
    case missing
    case failed(Int32)
  }

  func open(_ kind: QueueFile, _ id: UInt64, _ access: Descriptor.Access = .read) -> Opening {
    let (directory, name) = place(kind, id)
    let flags = access.rawValue | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK
    let owner = kind.owner.rawValue
    let unseen = refusing.load(ordering: .relaxed) & owner == 0 ? clinux_no_access_time : 0
    var number = name.withCString { openat(directory, $0, flags | unseen) }
    if number < 0, errno == EPERM, unseen != 0 {
      refusing.bitwiseOr(owner, ordering: .relaxed)
      number = name.withCString { openat(directory, $0, flags) }
    }
    if number >= 0 { return .file(number) }
    return errno == ENOENT ? .missing : .failed(errno)
  }

  /// The whole path, for messages.
  func path(_ kind: QueueFile, _ id: UInt64) -> String {
    "\(top.path)/\(QueuePath(spread, kind, id).withCString { String(cString: $0) })"
  }

  /// What stat(2) says of a file, or nil, with errno set, when it is not there (or cannot be looked at).
  func status(_ kind: QueueFile, _ id: UInt64) -> stat? {
    var status = stat()
    let (directory, name) = place(kind, id)
    let result = name.withCString { fstatat(directory, $0, &status, AT_SYMLINK_NOFOLLOW) }
    return result == 0 ? status : nil
  }

  /// Whether there is anything of this name, as far as can be told.
  func has(_ name: String) -> Bool {
    faccessat(top.number, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT
  }

  /// Whether a file is certainly not there; a failure to look says nothing.
  func lacks(_ kind: QueueFile, _ id: UInt64) -> Bool {
    var status = stat()
    let (directory, name) = place(kind, id)
    let result = name.withCString { fstatat(directory, $0, &status, AT_SYMLINK_NOFOLLOW) }
    return result != 0 && errno == ENOENT
  }

  /// What became of reading one file.
  enum Contents {
    /// Its bytes are in the buffer.
    case read
    case missing
    case failed(Int32)
  }

  /// Reads a whole file, opened once; `EFBIG` where it has more than `limit` bytes.
  /// - Parameter status: filled in when the caller needs it; one system call less when not.
  func read(
    _ kind: QueueFile, _ id: UInt64, into buffer: inout ReadBuffer, limit: Int,
    status: UnsafeMutablePointer<stat>? = nil
  ) -> Contents {
    switch open(kind, id) {
    case .missing: return .missing
    case .failed(let code): return .failed(code)
    case .file(let file):
      defer { buffer.spent.add(file) }
      if let status, fstat(file, status) != 0 { return .failed(errno) }
      guard buffer.fill(from: file, limit: limit + 1) else { return .failed(errno) }
      return buffer.count > limit ? .failed(EFBIG) : .read
    }
  }

  /// Opens a subdirectory, such as `info/17`.
  func directory(_ kind: QueueFile, _ part: Int) throws(QueueError) -> Descriptor {
    do { return try top.open(spread.directory(kind, part), [.directory, .following]) } catch {
      throw QueueError(error)
    }
  }

  /// The queue numbers named in one directory; other names are left out.
  func numbers(_ kind: QueueFile, _ part: Int) throws(QueueError) -> [UInt64] {
    var numbers: [UInt64] = []
    let directory = try directory(kind, part)
    do {
      try directory.forEachItem { item in
        if !item.isDirectory, let id = item.name.queueNumber { numbers.append(id) }
      }
    } catch { throw QueueError(error) }
    return numbers
  }

  /// The queue numbers in all directories of a kind.
  func allNumbers(_ kind: QueueFile) throws(QueueError) -> [UInt64] {
    var all: [UInt64] = []
    for part in 0..<spread.directories(kind) { all += try numbers(kind, part) }
    return all
  }
}

extension QueueFile {
  /// Who writes it (INTERNALS): the daemon, which runs as qmails, owns those of qmail-send only.
  fileprivate enum Owner: Int {
    case qmailq = 1
    case qmails = 2
  }

  fileprivate var owner: Owner {
    switch self {
    case .mess, .todo, .intd: .qmailq
    case .info, .local, .remote, .bounce: .qmails
    }
  }
}

extension stat {
  var birth: Timestamp { Timestamp(seconds: st_mtim.tv_sec, nanoseconds: st_mtim.tv_nsec) }
}
