import Mail

/// What became of played traffic at the door.
public struct PlaybackReport: Hashable, Sendable {
  public var queued = 0
  /// Refused by the SMTP gate, or by qmail-queue.
  public var refused = 0
}

extension SimulatedQmail {
  /// Hands one message of traffic in: by SMTP from the network, else to qmail-queue.
  public func take(_ injection: SimulatedInjection, at now: Timestamp) -> SMTPOutcome {
    let outcome = answer(injection, at: now)
    onTaken?(injection, outcome)
    return outcome
  }

  private func answer(_ injection: SimulatedInjection, at now: Timestamp) -> SMTPOutcome {
    if case .network(let client, let helo, let user) = injection.source {
      return offer(
        sender: injection.sender, recipients: injection.recipients, client: client, user: user,
        helo: helo, message: injection.message, at: now)
    }
    return SMTPOutcome(replies: [], entry: try? inject(injection, at: now))
  }

  /// Plays traffic as fast as it can, each event at its own time: network messages are offered by SMTP, the others injected, and qmail-send, if
  /// started, does whatever falls due between. The recipients answer as the traffic says, also afterwards.
  ///
  /// - Parameters:
  ///   - from, to: the part of the traffic to play, as time since its start; half-open.
  ///   - start: the moment that is the traffic's zero.
  ///   - tick: `each` is called this often.
  ///   - each: what else is to happen at that moment; return false to stop.
  @discardableResult
  public func play(
    _ traffic: Traffic, from: Duration = .zero, to: Duration, start: Timestamp,
    tick: Duration = .seconds(1), each: (Timestamp) -> Bool = { _ in true }
  ) -> PlaybackReport {
    exchanger = traffic.exchanger
    var report = PlaybackReport()
    let end = start + to
    var now = start + from
    var nextTick = now
    var rest = traffic.arrivals.drop { $0.after < from }
    while now < end {
      while let arrival = rest.first, start + arrival.after <= now {
        let isQueued = take(arrival.injection, at: now).entry != nil
        report.queued += isQueued ? 1 : 0
        report.refused += isQueued ? 0 : 1
        rest = rest.dropFirst()
      }
      step(now: now)
      if nextTick <= now {
        if !each(now) { return report }
        nextTick = nextTick + max(tick, .milliseconds(1))
      }
      let next = [nextTick, rest.first.map { start + $0.after }, nextDue].compactMap { $0 }.min()
      now = max(now, next ?? end)
    }
    return report
  }
}

/// Plays traffic in real time, in a task of its own, for the demo.
public actor TrafficDriver {
  private let qmail: SimulatedQmail
  private let traffic: Traffic
  private let clock: @Sendable () -> Timestamp
  private let exchanger: TrafficExchanger
  /// So far.
  public private(set) var report = PlaybackReport()

  /// - Parameters:
  ///   - qmail: from now on used by this actor alone.
  ///   - clock: the present.
  ///   - isPrompt: deliveries take no time.
  public init(
    _ qmail: sending SimulatedQmail, traffic: Traffic, clock: @escaping @Sendable () -> Timestamp,
    isPrompt: Bool = false
  ) {
    var exchanger = TrafficExchanger(isPrompt: isPrompt)
    exchanger.merge(traffic.exchanger)
    self.exchanger = exchanger
    self.qmail = qmail
    self.traffic = traffic
    self.clock = clock
  }

  /// Starts qmail-send, plays the traffic, goes on retrying; returns when the task is cancelled, with qmail-send stopped.
  public func run() async throws {
    let start = clock()
    qmail.exchanger = exchanger
    try qmail.start(at: start)
    var rest = traffic.arrivals[...]
    while !Task.isCancelled {
      let now = clock()
      while let arrival = rest.first, start + arrival.after <= now {
        _ = offer(arrival.injection)
        rest = rest.dropFirst()
      }
      qmail.step(now: now)
      try? await Task.sleep(for: .milliseconds(5))
    }
    qmail.stop(at: clock())
  }

  /// One more message, by SMTP if from the network: for instance to show that a block works.
  @discardableResult
  public func offer(_ injection: SimulatedInjection) -> SMTPOutcome {
    let outcome = qmail.take(injection, at: clock())
    report.queued += outcome.entry == nil ? 0 : 1
    report.refused += outcome.entry == nil ? 1 : 0
    return outcome
  }

  /// SIGKILL to its qmail-send.
  public func killSend() { qmail.kill() }

  /// Starts it again.
  public func startSend() throws { try qmail.start(at: clock()) }

  /// SIGALRM to its qmail-send.
  public func retryEverything() { qmail.retryEverything(at: clock()) }
}
