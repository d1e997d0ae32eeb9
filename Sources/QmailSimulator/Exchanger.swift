import Mail

/// The rest of the world, as qmail-lspawn and qmail-rspawn show it to qmail-send: says how each delivery ends.
///
/// Asked once when a delivery starts. Must be deterministic if the run is to be repeatable.
public protocol Exchanger {
  mutating func answer(to attempt: DeliveryAttempt) -> DeliveryAnswer
}

/// One delivery that the simulated qmail-send has started.
public struct DeliveryAttempt: Hashable, Sendable {
  public var entry: EntryIdentity
  public var channel: Channel
  /// The envelope sender, with qmail's VERP form `-@[]` already expanded for this recipient.
  public var sender: Address
  /// As in the channel file: a local one of a virtual domain bears its prepend.
  public var recipient: Address
  public var time: Timestamp

  /// Seconds since the message was taken in: a first attempt has a few, a second one 100 (local) or 400 (remote).
  public var age: Double { time.seconds(since: entry.birth) }
}

/// How a delivery ends, in the words of qmail-local or qmail-remote.
public struct DeliveryAnswer: Hashable, Sendable {
  public var outcome: SendLogLine.Outcome
  /// The report, raw: lines end in `\n`. It goes to the log, and on failure into `bounce/ID`.
  public var report: [UInt8]
  /// How long the delivery is in flight.
  public var after: Duration

  public init(_ outcome: SendLogLine.Outcome, report: [UInt8], after: Duration = .zero) {
    self.outcome = outcome
    self.report = report
    self.after = after
  }

  /// The usual report of this outcome, as seen in logs of notqmail 1.09.
  public init(
    _ outcome: SendLogLine.Outcome, to attempt: DeliveryAttempt, host: String = "192.0.2.25",
    after: Duration = .zero
  ) {
    let recipient = attempt.recipient.bytes
    let refused = Array("\(host) does not like recipient.\nRemote host said: ".utf8)
    let end = Array(">\nGiving up on \(host).\n".utf8)
    let report =
      switch (attempt.channel, outcome) {
      case (.local, .success): Array("did 1+0+0\n".utf8)
      case (.local, .failure): Array("Sorry, no mailbox here by that name. (#5.1.1)\n".utf8)
      case (.local, .deferral): [UInt8]()
      case (.remote, .success):
        Array("\(host) accepted message.\nRemote host said: 250 ok\n".utf8)
      case (.remote, .failure): refused + Array("550 no such user <".utf8) + recipient + end
      case (.remote, .deferral): refused + Array("451 try again later <".utf8) + recipient + end
      }
    self.init(outcome, report: report, after: after)
  }
}

/// Accepts every delivery, or answers all with what `decide` says.
public struct SteadyExchanger: Exchanger {
  private let decide: (DeliveryAttempt) -> SendLogLine.Outcome
  private let after: Duration

  /// - Parameter after: how long each delivery is in flight.
  public init(
    after: Duration = .zero,
    _ decide: @escaping (DeliveryAttempt) -> SendLogLine.Outcome = { _ in .success }
  ) {
    self.decide = decide
    self.after = after
  }

  public func answer(to attempt: DeliveryAttempt) -> DeliveryAnswer {
    DeliveryAnswer(decide(attempt), to: attempt, after: after)
  }
}
