import Files
import Glibc
import Mail

/// The queue directory held open. Names are looked up relative to it, so that a message is read from one queue even if another is moved into its place.
final class OpenQueue: Sendable {
  let top: Descriptor
  let spread: Spread
  let status: FileStatus

  init(_ layout: QueueLayout) throws(QueueError) {
    let top: Descriptor
    do { top = try Descriptor.open(layout.queue, [.directory, .following]) } catch {
      throw QueueError(error)
    }
    do { status = try top.status() } catch { throw QueueError(error) }
    self.top = top
    spread = Spread(layout)
  }

  /// A file opened for reading, or why not.
  enum Opening {
    case file(Int32)
    case missing
    case failed(Int32)
  }

  func open(_ kind: QueueFile, _ id: UInt64) -> Opening {
    let number = QueuePath(spread, kind, id).withCString {
      openat(top.number, $0, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
    }
    if number >= 0 { return .file(number) }
    return errno == ENOENT ? .missing : .failed(errno)
  }

  /// What stat(2) says of a file, or nil when it is not there (or cannot be looked at).
  func status(_ kind: QueueFile, _ id: UInt64) -> stat? {
    var status = stat()
    let result = QueuePath(spread, kind, id).withCString {
      fstatat(top.number, $0, &status, AT_SYMLINK_NOFOLLOW)
    }
    return result == 0 ? status : nil
  }

  /// What became of reading one file.
  enum Contents {
    /// Its bytes are in the buffer.
    case read(stat)
    case missing
    case failed(Int32)
  }

  /// Reads a file, opened once. `EFBIG` where it has more than `limit` bytes and `isWhole` is asked for.
  func read(
    _ kind: QueueFile, _ id: UInt64, into buffer: inout ReadBuffer, limit: Int, isWhole: Bool = true
  ) -> Contents {
    switch open(kind, id) {
    case .missing: return .missing
    case .failed(let code): return .failed(code)
    case .file(let file):
      defer { close(file) }
      var status = stat()
      guard fstat(file, &status) == 0 else { return .failed(errno) }
      guard status.st_mode & S_IFMT == S_IFREG else { return .failed(EISDIR) }
      guard buffer.fill(from: file, limit: isWhole ? limit + 1 : limit) else {
        return .failed(errno)
      }
      return isWhole && buffer.count > limit ? .failed(EFBIG) : .read(status)
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

extension stat {
  var birth: Timestamp {
    Timestamp(
      nanoseconds: Int64(st_mtim.tv_sec) &* 1_000_000_000 &+ Int64(st_mtim.tv_nsec))
  }
}
