import Files

/// Why an entry cannot be retired now. The queue is as it was, unless a call says otherwise.
public enum RetirementRefusal: Error, Hashable, Sendable, CustomStringConvertible {
  /// The message has left the queue.
  case gone
  /// `todo/ID` exists: after a crash qmail-send would rebuild the recipient files and lose the marks. Try again in a moment.
  case unprocessed
  /// The number now belongs to another message.
  case notTheSame(String)
  /// No recipient is left to try: it leaves by itself.
  case alreadyDone
  /// A file of the entry is not what qmail writes there.
  case damaged(path: String, why: String)
  case file(FileError)
  case store(QuarantineError)

  public var description: String {
    switch self {
    case .gone: "the message has left the queue"
    case .unprocessed: "qmail-send has not finished taking the message in; try again"
    case .notTheSame(let why): "the number belongs to another message now (\(why))"
    case .alreadyDone: "no recipient is left to try; the message leaves by itself"
    case .damaged(let path, let why): "\(path): \(why)"
    case .file(let error): error.description
    case .store(let error): error.description
    }
  }
}
