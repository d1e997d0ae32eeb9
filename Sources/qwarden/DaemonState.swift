import Files
import Glibc
import Watchdog

/// How the daemon of a state directory stands: in its own words, else as it last wrote it.
struct DaemonState {
  var report: StatusReport
  /// Why it did not say so itself; nil when it did.
  var silence: Daemon.NoAnswer?

  /// - Returns: nil when no daemon has run with this state directory.
  /// - Throws: `FileError` when this user may not know.
  static func read(_ state: String) throws -> DaemonState? {
    do throws(Daemon.NoAnswer) {
      let answer: TopReport = try Daemon(state: state).ask(.top(rows: 0))
      return DaemonState(report: answer.status)
    } catch {
      return try StatusReport.read(state: state).map { DaemonState(report: $0, silence: error) }
    }
  }

  /// Its process number alone tells little: after a restart of the machine it is another program's.
  var isRunning: Bool {
    guard let silence else { return true }
    guard kill(report.pid, 0) == 0 || errno == EPERM else { return false }
    return silence.kind != .absent || report.trouble("questions") != nil
  }
}
