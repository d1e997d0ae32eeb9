import Files
import Glibc
import Mail

/// `STATE/lock`: who holds it may move hands. The daemon and the commands take it for each piece of work, so that they never act
/// at the same moment.
enum HandsLock {
  /// Takes the lock, trying for about `patience`.
  /// - Returns: nil when another process kept it all that time.
  static func take(state: String, patience: Duration) throws(FileError) -> FileLock? {
    let pause = Duration.milliseconds(20)
    var tries = max(1, Int(patience.inSeconds / pause.inSeconds))
    while true {
      if let lock = try FileLock.take("\(state)/lock", waiting: false) { return lock }
      tries -= 1
      if tries <= 0 { return nil }
      usleep(20_000)
    }
  }
}
