import Files
import Glibc
import Mail

/// `STATE/lock`: who holds it may move hands. The daemon and the commands take it for each piece of work, so that they never act
/// at the same moment.
enum HandsLock {
  /// Takes the lock, trying for about `patience`.
  /// - Returns: nil when another process kept it all that time.
  static func take(state: String, patience: Duration) throws(FileError) -> FileLock? {
    var pauses = Int(patience.inSeconds * 50)
    while true {
      if let lock = try FileLock.take("\(state)/lock", waiting: false) { return lock }
      if pauses <= 0 { return nil }
      pauses -= 1
      usleep(20_000)
    }
  }
}

/// A wait too short to be seen.
enum Pause {
  static func briefly() { usleep(2_000) }
}
