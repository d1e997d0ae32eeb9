/// What a storm is.
public enum StormKind: String, Sendable, Hashable, CaseIterable {
  /// Bounces for mail we never sent, to our users.
  case backscatterIn = "backscatter-in"
  /// Our server bounces spam it accepted to forged senders.
  case bounceOut = "bounce-out"
  /// One sender address, many remote recipients.
  case relaySender = "relay-sender"
  /// Rotating senders from one client or user.
  case relaySource = "relay-source"
  /// A local uid injects the flood.
  case localScript = "local-script"
  /// qmail-send is down or not preprocessing.
  case stall
  /// Growth with no offender: a provider is down.
  case surge
}
