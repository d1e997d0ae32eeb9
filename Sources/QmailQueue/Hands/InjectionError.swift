/// Why a message was not given to qmail-queue. Nothing was queued.
public enum InjectionError: Error, Hashable, Sendable, CustomStringConvertible {
  /// qmail-queue would accept a message without recipients, and forget it.
  case noRecipients
  /// An address with a NUL, or over qmail-queue's 1002 bytes.
  case badAddress(String)
  /// qmail-queue could not be started.
  case notStarted(path: String, why: String)
  /// qmail-queue ended before it had the whole envelope.
  case ended(InjectionResult)
  /// It did not take the message in time and was ended.
  case tooSlow(seconds: Double)

  /// Trying again later may help.
  public var isTemporary: Bool {
    switch self {
    case .noRecipients, .badAddress: false
    case .notStarted, .tooSlow: true
    case .ended(let result): result.isTemporary
    }
  }

  public var description: String {
    switch self {
    case .noRecipients: "there is no recipient to release this message to"
    case .badAddress(let why): why
    case .notStarted(let path, let why): "\(path): cannot start: \(why)"
    case .ended(let result): "\(result); nothing was queued"
    case .tooSlow(let seconds):
      "qmail-queue did not take the message within \(Int(seconds)) s; nothing was queued"
    }
  }
}
