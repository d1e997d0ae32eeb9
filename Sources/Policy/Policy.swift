import Storms

/// What the administrator wants done: the typed form of policy.yaml. The defaults are those of the shipped file.
public struct Policy: Sendable, Hashable {
  /// `observe` says what it would do; `enforce` does it.
  public enum Mode: String, Sendable, Hashable, CaseIterable {
    case observe
    case enforce
  }

  public var mode = Mode.observe
  public var polling = Polling()
  public var log = Log()
  public var detection = DetectorSettings()
  public var blocking = Blocking()
  public var quarantine = Quarantine()
  public var history = History()
  public var protect = Protection()
  public var metrics = Metrics()

  public init() {}

  /// Figures for Prometheus.
  public struct Metrics: Sendable, Hashable {
    /// Where they are written; nil for nowhere.
    public var file: String?
    public init() {}
  }

  /// How often the queue is looked at.
  public struct Polling: Sendable, Hashable {
    /// In quiet times; inotify wakes the reader earlier.
    public var normal = Duration.seconds(5)
    /// While a storm goes on.
    public var storm = Duration.seconds(1)
    /// A pass over all names, which finds what lost events hid.
    public var fullPass = Duration.seconds(60)
    public init() {}
  }

  /// qmail-send's log, read beside the queue.
  public struct Log: Sendable, Hashable {
    public var source = Source.auto
    /// splogger's name in syslog and in the journal.
    public var tag = "qmail"
    public init() {}

    public enum Source: Sendable, Hashable {
      /// Of the usual places, the one where qmail-send wrote last.
      case auto
      case none
      /// The journal, what is logged under the tag.
      case journal
      /// The journal, what this unit's processes print.
      case unit(String)
      /// A file, or a directory that multilog writes to.
      case path(String)
    }
  }

  /// Lines for control/badmailfrom.
  public struct Blocking: Sendable, Hashable {
    public var isEnabled = true
    /// Kinds of storm whose sender may be blocked.
    public var kinds: Set<StormKind> = [.relaySender, .backscatterIn, .bounceOut]
    /// Whether a single address of a local domain may be blocked: a hijacked account is the one storm that badmailfrom really stops.
    public var localSenders = true
    /// Whether a whole foreign sender domain (`@domain`) may be blocked.
    public var wholeDomains = false
    /// First block; each repeat lasts `repeatFactor` times longer, up to `longest`.
    public var duration = Duration.seconds(24 * 3600)
    public var repeatFactor = 2
    public var longest = Duration.seconds(30 * 86_400)
    /// More than this many new blocks in an hour: alert only.
    public var perHour = 10
    /// After an administrator's unblock, the address is left alone this long.
    public var grace = Duration.seconds(7 * 86_400)
    /// How this server reads badmailfrom; nil: find out from bin/qmail-smtpd.
    public var dialect: String?
    public init() {}
  }

  /// Setting storm messages aside.
  public struct Quarantine: Sendable, Hashable {
    public var isEnabled = true
    public var kinds: Set<StormKind> = [
      .backscatterIn, .bounceOut, .relaySender, .relaySource, .localScript,
    ]
    /// More messages than this in one storm: alert only.
    public var perStorm = 100_000
    /// More than this share of the queue (0…1): alert only.
    public var shareOfQueue = 1.0
    /// How long a quarantined message is kept.
    public var keep = Duration.seconds(14 * 86_400)
    /// Least free share of the state directory's filesystem, 0…1.
    public var minimumFreeSpace = 0.05
    public var minimumFreeInodes = 0.05
    public init() {}
  }

  /// What the daemon saw, kept for `qwarden replay --history`.
  public struct History: Sendable, Hashable {
    public var keep = Duration.seconds(14 * 86_400)
    /// Bytes on disk; 0: nothing is kept.
    public var size: Int64 = 200_000_000
    public init() {}
  }

  /// Who is never blocked and whose mail is never quarantined.
  public struct Protection: Sendable, Hashable {
    /// `user@host`, or `@host` for a whole domain; lower case.
    public var senders: Set<String> = []
    /// IPv4 or IPv6 addresses or CIDR ranges.
    public var clients: [String] = []
    public var users: Set<String> = []
    public var uids: Set<UInt32> = []
    public init() {}
  }
}
