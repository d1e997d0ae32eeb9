import Foundation

/// A queue of a given size, laid out as qmail does, with inode numbers for names.
final class TestQueue {
  let size: Int
  let qmail: String
  let queue: String
  private let home: String?

  /// The C programs beside us.
  static let floor =
    URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
    .appendingPathComponent("floor").path

  /// - Parameter home: where qmail is installed; its queue is covered by this one until ``remove()``.
  init(_ size: Int, in directory: String, standingIn home: String?) throws {
    var template = Array("\(directory)/qwarden-bench-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else {
      throw Failure("\(directory): cannot make a directory there")
    }
    qmail = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    queue = "\(qmail)/queue"
    self.size = size
    self.home = home
    chmod(qmail, 0o755)
    _ = try Command(Self.floor, "make", qmail, "\(size)", "\(max(1, size / 5))").time()
    mkdir("\(qmail)/control", 0o755)
    for name in ["me", "locals", "rcpthosts"] {
      try "mx.test\n".write(toFile: "\(qmail)/control/\(name)", atomically: false, encoding: .utf8)
    }
    if let home { try mount("--bind", queue, "\(home)/queue") }
  }

  /// As qmail-send does while it runs, until the descriptor that this returns is closed.
  func holdLock() throws -> Int32 {
    let lock = open("\(queue)/lock/sendmutex", O_WRONLY | O_CLOEXEC)
    guard lock >= 0, flock(lock, LOCK_EX | LOCK_NB) == 0 else {
      close(lock)
      throw Failure("\(queue)/lock/sendmutex: cannot be locked")
    }
    return lock
  }

  func remove() {
    if let home { try? mount("--bind", nil, "\(home)/queue") }
    _ = try? Command("/bin/rm", "-rf", qmail).time()
  }

  private func mount(_ how: String, _ from: String?, _ to: String) throws {
    let path = Command.find(from == nil ? "umount" : "mount") ?? "/bin/mount"
    if let from {
      _ = try Command(path, how, from, to).time()
    } else {
      _ = try Command(path, to).time()
    }
  }

  /// Everything dirty on the disk, and nothing of it in memory.
  /// - Returns: false where that is not ours to do.
  static func dropCaches() -> Bool {
    guard geteuid() == 0 else { return false }
    sync()
    let file = open("/proc/sys/vm/drop_caches", O_WRONLY)
    guard file >= 0 else { return false }
    defer { close(file) }
    return write(file, "3", 1) == 1
  }
}
