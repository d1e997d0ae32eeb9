import Files
import Glibc

/// qmail-send, the process that moves the queue.
public enum QmailSend {
  /// Whether it runs: it holds an flock on `lock/sendmutex` for life. No lock is taken to find out.
  /// - Returns: nil when that could not be told.
  public static func isRunning(_ layout: QueueLayout) -> Bool? {
    do {
      return try LockTable.isLocked("\(layout.queue)/lock/sendmutex")
    } catch {
      // The file is made when qmail is installed; without it nothing can hold the lock.
      return error.isMissing ? false : nil
    }
  }

  /// Takes qmail-send's own lock, so that none can start until it is let go: for work that only a stopped queue bears. Whoever starts
  /// qmail-send meanwhile gets its "already running", so it is held for one lot at a time.
  /// - Returns: nil when qmail-send runs, or there is no lock to take.
  public static func holdOff(_ layout: QueueLayout) throws(FileError) -> FileLock? {
    do {
      return try FileLock.take(
        "\(layout.queue)/lock/sendmutex", creating: false)
    } catch {
      if error.isMissing { return nil }
      throw error
    }
  }

  /// Its process number: the holder of that lock, if its name is qmail-send.
  /// - Returns: nil when it does not run, or is out of sight (in another container).
  public static func process(_ layout: QueueLayout) -> Int32? {
    (try? LockTable.holders(of: "\(layout.queue)/lock/sendmutex"))?.first { pid in
      pid > 0
        && (try? Descriptor.open("/proc/\(pid)/comm").read(limit: 32)) == Array("qmail-send\n".utf8)
    }
  }

  /// Sends SIGALRM: qmail-send then tries every message in the queue at its next pass (man qmail-send). Single messages cannot be
  /// chosen: their next times live in its memory.
  /// - Returns: the process that got it; nil when there is none, as by ``process(_:)``.
  public static func tryAllNow(_ layout: QueueLayout) throws(FileError) -> Int32? {
    guard let pid = process(layout) else { return nil }
    guard kill(pid, SIGALRM) == 0 else {
      if errno == ESRCH { return nil }
      throw FileError("send SIGALRM to", "qmail-send (process \(pid))")
    }
    return pid
  }
}
