import Mail

extension SimulatedQmail {
  /// Plays traffic: each network message is offered by SMTP, each other one injected, and qmail-send runs whatever falls due between.
  ///
  /// - Parameters:
  ///   - from, to: the part of the traffic to play, as time since its start; the half-open range.
  ///   - start: the moment that is the traffic's zero.
  ///   - tick: `step` at least this often, and call `each` after it.
  ///   - each: what else is to happen at that moment; return false to stop.
  public func play(
    _ traffic: Traffic, from: Duration = .zero, to: Duration, start: Timestamp,
    tick: Duration = .seconds(1), each: (Timestamp) -> Bool = { _ in true }
  ) {}
}

/// Plays traffic in real time, in a task of its own, for the demo.
public actor TrafficDriver {
  private let qmail: SimulatedQmail
  private let traffic: Traffic
  private let clock: @Sendable () -> Timestamp

  /// - Parameters:
  ///   - qmail: from now on used by this actor alone.
  ///   - clock: the present.
  public init(
    _ qmail: sending SimulatedQmail, traffic: Traffic, clock: @escaping @Sendable () -> Timestamp
  ) {
    self.qmail = qmail
    self.traffic = traffic
    self.clock = clock
  }

  /// Starts qmail-send, plays the traffic, goes on retrying; returns when the task is cancelled, with qmail-send stopped.
  public func run() async {}

  /// One more SMTP session, for instance to show that a block works.
  public func offer(_ injection: Injection) -> SMTPOutcome? { nil }

  /// SIGALRM to its qmail-send.
  public func retryEverything() { qmail.retryEverything(at: clock()) }
}
