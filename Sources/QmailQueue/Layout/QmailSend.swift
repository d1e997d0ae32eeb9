import Files

/// qmail-send, the process that moves the queue.
public enum QmailSend {
  /// Whether it runs: it holds an flock on `lock/sendmutex` for life. No lock is taken to find out.
  /// - Returns: nil when that could not be told.
  public static func isRunning(_ layout: QueueLayout) -> Bool? {
    do {
      return LockTable.isLocked(try FileStatus.of("\(layout.queue)/lock/sendmutex"))
    } catch {
      // The file is made when qmail is installed; without it nothing can hold the lock.
      return error.isMissing ? false : nil
    }
  }
}
