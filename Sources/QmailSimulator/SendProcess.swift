import Files
import Glibc
import Mail

/// The simulated qmail-send, from start to exit (qmail-send.c).
final class SendProcess {
  var nextDue: Timestamp? { nil }
  init(_ qmail: SimulatedQmail, at now: Timestamp) throws(FileError) {}
  func step(_ qmail: SimulatedQmail, _ now: Timestamp) {}
  func retryEverything(at now: Timestamp) {}
  func reread(_ qmail: SimulatedQmail, _ now: Timestamp) {}
  func stop(_ qmail: SimulatedQmail, _ now: Timestamp) {}
}
