/// Thresholds of the detector. The defaults are what the shipped policy says.
///
/// Counts are of one group (a sender, a user, a client, a uid, a sender domain) within ``window``.
public struct DetectorSettings: Sendable, Hashable {
  /// The sliding time over which messages, recipients and outcomes are counted.
  public var window = Duration.seconds(300)

  /// Fewer messages than this **and** fewer recipients than ``recipients`` are never a storm.
  public var messages = 30
  public var recipients = 60
  /// A group must send more than this many times its learned normal.
  public var timesNormal = 4.0

  /// Share of recipients that fail for good with ordinary mail, and with a storm: the two hypotheses of the sequential test.
  public var ordinaryFailureShare = 0.15
  public var stormFailureShare = 0.6
  /// Chance that ordinary mail is taken for a storm by the sequential test.
  public var falseAlarm = 1e-4

  /// A recipient still waiting this long after qmail-send took the message in, although later mail has had its turn, lingers; after four
  /// times as long it was deferred beyond doubt.
  public var lingerAfter = Duration.seconds(2)
  /// So many deferred recipients, over so many domains, with little success, are a storm without any failure.
  public var deferredRecipients = 20
  public var deferredDomains = 12

  /// A flood that is accepted everywhere is only told of (kind `surge`) from so many messages on.
  public var acceptedMessages = 1000

  /// So many messages waiting in todo while qmail-send takes none in for ``stallAfter``: a stall.
  public var stalledMessages = 8
  public var stallAfter = Duration.seconds(6)
  /// Free share of the queue's filesystem (bytes or inodes) under which qmail is about to stop.
  public var minimumFree = 0.03

  /// So many recipients deferred by one domain, from several senders: a surge.
  public var surgeRecipients = 50

  /// Silence shorter than this is a pause of the same storm; longer ends it.
  public var pause = Duration.seconds(720)

  public init() {}

  /// Eight messages, or fewer to very many: one alone may be a person's to all that he knows.
  func isEnough(_ sum: Tally) -> Bool {
    sum.messages >= min(8, messages) || Int(sum.recipients) >= 10 * recipients
  }
}
