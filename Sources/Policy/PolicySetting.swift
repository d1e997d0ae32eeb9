/// One setting of policy.yaml as the manual describes it; read from the same table as the file is.
public struct PolicySetting: Sendable, Hashable {
  /// `blocking.duration`, or `mode` for one at the left margin.
  public var name: String
  /// What it takes: `a duration from 1m to 365d, such as …`.
  public var expected: String
  /// What holds where the file does not say, as it would be written there.
  public var initial: String
  /// A sentence: what it is for.
  public var explanation: String

  /// All of them, in the order of the shipped file.
  public static var all: [PolicySetting] {
    PolicyField.all.map {
      PolicySetting(
        name: $0.name, expected: $0.expected, initial: $0.initial,
        explanation: explanations[$0.name] ?? "")
    }
  }

  private static let explanations = [
    "mode": "observe says what would be done and touches nothing; enforce does it.",
    "polling.normal":
      "How often the queue is looked at. New mail wakes qwarden at once; this is for what nobody announces.",
    "polling.storm": "The same while a storm goes on; not more than polling.normal.",
    "polling.full-pass":
      "How often all names in the queue are gone over, to find what a lost event hid; not less than polling.normal.",
    "log.source":
      "Where qmail-send's log is. It tells what became of each message. auto takes, of multilog's usual directories, the journal and the mail log, the one where qmail-send wrote last.",
    "log.tag": "The name under which splogger writes to syslog and the journal.",
    "detection.window":
      "The time over which the mail of one sender, client, user or uid is counted.",
    "detection.messages":
      "The floor: fewer messages than this within the window, and fewer recipients than detection.recipients, are never a storm.",
    "detection.recipients": "The floor for recipients within the window.",
    "detection.times-normal":
      "A storm is also more than this many times what the same source usually sends in its active hours; what fails for good, or comes from a client strange to the account, needs no comparison.",
    "detection.accepted-messages":
      "A flood that everybody accepts, so that nothing fails, is told of from this many messages on, or ten times as many recipients.",
    "detection.pause": "A longer silence than this ends a storm; a shorter one is part of it.",
    "blocking.enabled": "Whether lines are written into control/badmailfrom at all.",
    "blocking.kinds": "The kinds of storm whose sender may be blocked.",
    "blocking.local-senders":
      "Whether a single address of a local domain may be blocked, once failed deliveries prove that its account is abused; a whole local domain never is.",
    "blocking.whole-domains": "Whether a whole foreign sender domain may be blocked.",
    "blocking.duration": "How long the first block of a sender lasts. Every block expires.",
    "blocking.repeat-factor":
      "Each further block of the same sender lasts this many times longer than the one before.",
    "blocking.longest": "No block lasts longer than this; not less than blocking.duration.",
    "blocking.per-hour": "More new blocks in an hour than this: alert only, and it says so.",
    "blocking.grace": "For how long a sender that an administrator unblocked is left alone.",
    "blocking.dialect":
      "How this server's qmail-smtpd reads badmailfrom. auto finds out from bin/qmail-smtpd; of an unknown one the file is not edited.",
    "quarantine.enabled": "Whether the messages of a storm are set aside.",
    "quarantine.kinds": "The kinds of storm whose messages are set aside.",
    "quarantine.per-storm": "More messages in one storm than this: alert only, and it says so.",
    "quarantine.share-of-queue":
      "More than this share of the messages in the queue: alert only, and it says so.",
    "quarantine.keep": "How long a message set aside is kept before it is deleted.",
    "quarantine.minimum-free-space":
      "Below this free share of the state directory's disk nothing more is set aside.",
    "quarantine.minimum-free-inodes":
      "Below this free share of its inodes nothing more is set aside.",
    "history.keep":
      "How long what was seen is kept in STATE/history, for \"qwarden replay --history\".",
    "history.size":
      "How much disk it may take; the oldest goes first. 0 keeps nothing. A busy server with 150,000 messages a day needs about 10 MB a day.",
    "protect.senders": "Envelope senders that are never blocked and whose mail is never set aside.",
    "protect.clients": "Client addresses or ranges whose mail is never set aside.",
    "protect.users": "Users that clients authenticate as, whose mail is never set aside.",
    "protect.uids": "Local programs, by uid, whose mail is never set aside.",
    "metrics.file":
      "Where the daemon writes its figures every five seconds, in the text format of Prometheus, for node_exporter's --collector.textfile.directory. In the unit's sandbox the file's directory needs a line ReadWritePaths= ('systemctl edit qwarden').",
  ]
}
