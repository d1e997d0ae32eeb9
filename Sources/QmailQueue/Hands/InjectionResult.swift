/// How qmail-queue ended (qmail-queue(8), EXIT CODES; qmail-queue.c).
public enum InjectionResult: Hashable, Sendable, CustomStringConvertible {
  /// Exit 0 after the whole envelope: the message is in the queue.
  case queued
  /// It ended without queueing the message.
  case failed(code: Int32)
  /// Killed by a signal: hardly queued, but only a search for its PID in the queue can tell.
  case killed(signal: Int32)
  /// It did not end within the time allowed and runs on: it may yet queue the message. Look for its PID in the queue later.
  case unknown

  /// Not queued, and trying again later may help.
  public var isTemporary: Bool {
    if case .failed(let code) = self { !(11...40).contains(code) } else { false }
  }

  public var description: String {
    switch self {
    case .queued: "queued"
    case .killed(let signal): "qmail-queue was killed by signal \(signal)"
    case .unknown: "qmail-queue is still at work; whether the message is queued is not known yet"
    case .failed(let code): "qmail-queue: \(Self.meaning(of: code)) (exit \(code))"
    }
  }

  private static func meaning(of code: Int32) -> String {
    switch code {
    case 0: "it ended before it had the whole envelope"
    case 11: "an address is longer than 1002 bytes"
    case 31: "the message was refused for good by a filter"
    case 12...40: "the message was refused for good"
    case 51: "out of memory"
    case 52: "it timed out"
    case 53: "cannot write the message; the disk may be full"
    case 54: "the message or its envelope was cut off"
    case 55: "cannot read its configuration"
    case 56: "a network problem"
    case 61: "cannot enter qmail's home directory"
    case 62: "cannot enter the queue directory"
    case 63: "cannot create a file in queue/pid"
    case 64: "cannot link the message into queue/mess"
    case 65: "cannot create the envelope in queue/intd"
    case 66: "cannot link the envelope into queue/todo"
    case 71: "the mail system refuses the message for now"
    case 81: "an internal bug"
    case 91: "the envelope is not in its format"
    case 120: "cannot run the program"
    default: "an unknown failure"
    }
  }
}
