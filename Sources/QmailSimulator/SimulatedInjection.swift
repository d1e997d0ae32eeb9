import Mail

/// A message handed to qmail-queue, with what is known of its way there.
public struct SimulatedInjection: Hashable, Sendable {
  public var sender: Address
  public var recipients: [Address]
  /// `.network` gets the Received line of qmail-smtpd below that of qmail-queue; a `.bounce`'s original is not written (it is in the
  /// text, if anywhere); `.unknown` does not exist for qmail-queue and counts as uid 65534.
  public var source: Source
  /// Header and body, lines ending in `\n`.
  public var message: [UInt8]

  public init(sender: Address, recipients: [Address], source: Source, message: [UInt8]) {
    self.sender = sender
    self.recipients = recipients
    self.source = source
    self.message = message
  }

  /// `F<sender>\0T<rcpt>\0…\0`, what qmail-queue reads on descriptor 1.
  var envelope: [UInt8] {
    var bytes = [UInt8(ascii: "F")] + sender.bytes + [0]
    for recipient in recipients { bytes += [UInt8(ascii: "T")] + recipient.bytes + [0] }
    return bytes + [0]
  }

  /// The message as qmail-smtpd passes it on: with its own Received line (received.c) for network sources.
  func bytes(host: String, at now: Timestamp) -> [UInt8] {
    guard case .network(let client, let helo, let user) = source else { return message }
    // HELO is left out where it equals TCPREMOTEHOST, and that is "unknown" without a name in the DNS.
    var line = "Received: from unknown"
    if let helo, helo != "unknown" { line += " (HELO \(Self.safe(helo)))" }
    line += " ("
    if let user { line += "\(Self.safe(user))@" }
    line += "\(Self.safe(client)))\n  by \(Self.safe(host)) with SMTP; \(now.mailDate)\n"
    return Array(line.utf8) + message
  }

  /// received.c `safeput`: every byte but letters, digits and `.@%+/=:-[]` becomes `?`.
  private static func safe(_ text: String) -> String {
    let others = Set(".@%+/=:-[]".utf8)
    return String(
      decoding: text.utf8.map { byte in
        (48...57).contains(byte) || (97...122).contains(byte.asciiLowercased)
          || others.contains(byte)
          ? byte : UInt8(ascii: "?")
      }, as: UTF8.self)
  }
}

/// The uids that the simulated qmail shows in its envelopes and log; the traditional ones of qmail's INSTALL.ids.
public enum SimulatedUser {
  public static let alias: UInt32 = 7790
  public static let qmaild: UInt32 = 7791
  public static let qmails: UInt32 = 7796
}

extension Source {
  /// The uid under which qmail-queue is run for it.
  var uid: UInt32 {
    switch self {
    case .network: SimulatedUser.qmaild
    case .alias: SimulatedUser.alias
    case .bounce: SimulatedUser.qmails
    case .uid(let uid): uid
    case .unknown: 65_534
    }
  }
}

extension Timestamp {
  /// `23 Nov 2026 17:41:03 -0000`, as qmail's date822fmt writes it.
  var mailDate: String { qreadDate.dropLast(3) + "-0000" }
}
