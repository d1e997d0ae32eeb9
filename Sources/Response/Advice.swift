import Mail
import Storms

/// What an administrator can pull where badmailfrom does not reach.
public enum Lever: String, Sendable, Hashable, CaseIterable {
  /// tcpserver's rules: refuse the client's address.
  case tcprules
  /// The account that the flood is sent with.
  case account
  /// The local program's uid.
  case uid
  /// A line for the whole sender domain, where the policy leaves that to the administrator.
  case badmailfrom
  /// Refuse unknown recipients during SMTP, so that nothing has to be bounced.
  case recipientChecking = "recipient-checking"
  /// qmail-send itself is not at work.
  case qmailSend = "qmail-send"
}

/// One lever with the words for it.
public struct Advice: Sendable, Hashable {
  public var lever: Lever
  /// A full sentence, safe for a terminal.
  public var sentence: String
  /// The line to type or to add to a file, where there is one. Built only from values of a strict grammar.
  public var line: String?

  public init(_ lever: Lever, _ sentence: String, line: String? = nil) {
    self.lever = lever
    self.sentence = sentence
    self.line = line
  }

  /// The sentence, and the line behind it where there is one.
  public var text: String { sentence + (line.map { " [\($0)]" } ?? "") }
}

extension Advice {
  /// What helps against this storm besides badmailfrom, or instead of it.
  public static func against(_ storm: Storm) -> [Advice] {
    var advice: [Advice] = []
    // Of many clients the heaviest come first, and three lines are enough for an alert.
    var clients = 0
    for offender in storm.offenders {
      switch offender {
      case .client(let client):
        clients += 1
        if clients <= 3 { advice += tcprules(client) }
      case .user(let user): advice.append(account(user))
      case .uid(let uid): advice.append(script(uid))
      case .senderDomain(let domain): advice += wholeDomain(domain)
      case .sender: break
      }
    }
    switch storm.kind {
    case .backscatterIn, .bounceOut:
      advice.append(
        Advice(
          .recipientChecking,
          "Let qmail-smtpd refuse unknown recipients (a recipient-checking patch, or validrcptto), so that mail for them is never accepted and never bounced."
        ))
    case .stall:
      advice.append(
        Advice(
          .qmailSend,
          "See that qmail-send runs and that the queue's disk has space and inodes left.",
          line: "pgrep -l qmail-send; df -h; df -i"))
    case .relaySender, .relaySource, .localScript, .surge: break
    }
    return advice
  }

  private static func tcprules(_ client: String) -> [Advice] {
    // The client is what a Received line says: only a plain address becomes a line that somebody may paste.
    guard !client.contains("/"), ClientRange(client) != nil else { return [] }
    return [
      Advice(
        .tcprules,
        "Refuse the client \(client): add the line to the file that your SMTP server's tcprules are made from, and make them anew.",
        line: "\(client):deny")
    ]
  }

  private static func wholeDomain(_ domain: Domain) -> [Advice] {
    let isPlain = domain.text.utf8.allSatisfy {
      $0 >= 97 && $0 <= 122 || $0 >= 48 && $0 <= 57 || $0 == 45 || $0 == 46
    }
    guard isPlain, domain.text.utf8.contains(UInt8(ascii: ".")) else { return [] }
    return [
      Advice(
        .badmailfrom,
        "All of it bears senders of \(domain): if nobody honest writes to you from there, add the line to control/badmailfrom.",
        line: "@\(domain.text)")
    ]
  }

  private static func account(_ user: String) -> Advice {
    Advice(
      .account,
      "The account '\(Escaping.terminal(user))' authenticates the flood: change its password or lock it.",
      line: isPlainName(user) ? "passwd -l \(user)" : nil)
  }

  private static func script(_ uid: UInt32) -> Advice {
    Advice(
      .uid,
      "Programs of uid \(uid) put the flood into the queue themselves, and badmailfrom does not apply to them: find and stop the program.",
      line: "ps -o pid,lstart,args -u \(uid)")
  }

  /// A name that useradd would take, so that the line means what it says in a shell.
  private static func isPlainName(_ name: String) -> Bool {
    guard let first = name.utf8.first, name.utf8.count <= 32 else { return false }
    func isLetter(_ byte: UInt8) -> Bool { byte >= 97 && byte <= 122 || byte == 95 }
    return isLetter(first)
      && name.utf8.allSatisfy { isLetter($0) || $0 >= 48 && $0 <= 57 || $0 == 45 }
  }
}
