/// Where a message came from, read from the `Received:` lines that qmail itself wrote (qmail-queue.c, received.c).
///
/// All text is as qmail wrote it: qmail replaces unsafe characters, `_` too, by `?`.
public indirect enum Source: Hashable, Sendable {
  /// By SMTP. `user` is TCPREMOTEINFO: there only when the client authenticated (or answered ident).
  case network(client: String, helo: String?, user: String?)
  /// By a local program with this uid (qmail-inject, sendmail, qmail-queue).
  case uid(UInt32)
  /// Forwarded by a local alias (qmail-local).
  case alias
  /// qmail-send's own bounce or double bounce; `original` is the innermost message, where its copy could be read.
  case bounce(original: Origin?)
  /// No readable qmail `Received:` line.
  case unknown

  /// The message a bounce of ours tells about.
  public struct Origin: Hashable, Sendable {
    /// What the copy's `Return-Path:` says: possibly forged.
    public var sender: Address
    /// Never itself a bounce: nesting is resolved to the innermost message.
    public var source: Source
    /// Recipients this bounce reports as failed for good.
    public var failedRecipients: Int

    public init(sender: Address, source: Source, failedRecipients: Int = 1) {
      self.sender = sender
      self.source = source
      self.failedRecipients = failedRecipients
    }
  }

  /// `network`, `uid`, `alias`, `bounce` or `unknown`: the `via` of the JSON contract.
  public var via: String {
    switch self {
    case .network: "network"
    case .uid: "uid"
    case .alias: "alias"
    case .bounce: "bounce"
    case .unknown: "unknown"
    }
  }

  /// Our own bounce or double bounce.
  public var isBounce: Bool { if case .bounce = self { true } else { false } }
}
