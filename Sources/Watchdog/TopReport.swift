import Storms

/// What `qwarden top` draws.
public struct TopReport: Codable, Sendable, Hashable {
  static let mostRows = 200

  public var status: StatusReport
  /// Unix time of the answer.
  public var time: Double
  /// Seconds that the rows' counts cover.
  public var window: Double
  /// Averages of the last ten seconds and of the last minute; nil right after the start.
  public var now: Flow?
  public var minute: Flow?
  public var senders: [Row]
  /// Clients, users and uids.
  public var sources: [Row]
  public var storms: [Storm]
  /// Messages waiting, oldest first, one every ``step`` seconds.
  public var lengths: [Int]
  public var step: Double

  /// Events a second.
  public struct Flow: Codable, Sendable, Hashable {
    public var arrivals: Double
    public var deliveries: Double
    public var failures: Double
    /// nil without a log: the queue does not show deferrals.
    public var deferrals: Double?
  }

  /// Figures of the last ``window`` seconds.
  public struct Row: Codable, Sendable, Hashable {
    public var type: String
    /// As it came from mail: to be escaped for whatever shows it.
    public var value: String
    public var messages: Int
    public var recipients: Int
    public var failed: Int
    public var delivered: Int
    public var waiting: Int
    /// The open storm that it is an offender of.
    public var incident: Int?
  }

  /// A storm that goes on, and what the hands did.
  public struct Storm: Codable, Sendable, Hashable {
    public var incident: Int
    public var kind: String
    /// Unix times of its first and its latest message.
    public var began: Double
    public var lastSeen: Double
    public var messages: Int
    public var failed: Int
    public var delivered: Int
    public var waiting: Int
    public var offenders: [String]
    public var victims: [String]
    public var blocks: Int
    public var quarantined: Int
    /// Why a hand was held, the latest reason; nil when none was.
    public var held: String?
  }
}

extension TopReport.Row {
  init(_ row: Ranking.Row) {
    self.init(
      type: row.offender.type, value: row.offender.value, messages: row.messages,
      recipients: row.recipients, failed: row.failed, delivered: row.delivered,
      waiting: row.waiting, incident: row.incident)
  }
}

extension TopReport.Flow {
  init?(_ recent: (totals: FlowMeter.Totals, seconds: Double)?, isLogged: Bool) {
    guard let (totals, seconds) = recent else { return nil }
    self.init(
      arrivals: Double(totals.arrived) / seconds, deliveries: Double(totals.delivered) / seconds,
      failures: Double(totals.failed) / seconds,
      deferrals: isLogged ? Double(totals.deferred) / seconds : nil)
  }
}
