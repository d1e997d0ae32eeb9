import Files
import Glibc
import Mail

/// `STATE/lock`: who holds it may move hands. The daemon and the commands take it for each piece of work, so that they never act
/// at the same moment.
enum HandsLock {
  /// Takes the lock, trying for about `patience`. In turns: who waits holds `STATE/lock.turn`, so a command with much to do, which gives the
  /// lock up for a moment only, cannot take it again before the daemon that waits for it.
  /// - Returns: nil when other processes kept it all that time.
  static func take(state: String, patience: Duration) throws(FileError) -> FileLock? {
    var pauses = Int(patience.inSeconds * 50)
    guard let turn = try take("\(state)/lock.turn", &pauses) else { return nil }
    let lock = try take("\(state)/lock", &pauses)
    _ = consume turn
    return lock
  }

  private static func take(_ path: String, _ pauses: inout Int) throws(FileError) -> FileLock? {
    while true {
      if let lock = try FileLock.take(path) { return lock }
      if pauses <= 0 { return nil }
      pauses -= 1
      usleep(20_000)
    }
  }
}

/// A wait too short to be noticed.
enum Pause {
  static func milliseconds(_ number: UInt32) { usleep(number * 1000) }

  /// Longer than qmail-send takes to write `D` after a delivery program has ended: 3.3 ms at most in 150 deliveries (experiment, notqmail
  /// 1.09). A delivery not seen in a look before this pause has its `D` on the record after it.
  static func untilDoneIsWritten() { milliseconds(10) }
}
