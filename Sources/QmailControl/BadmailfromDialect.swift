import Files
import Mail

/// How a server's qmail-smtpd reads the lines of control/badmailfrom. The variants differ so much that a line
/// written for one blocks everybody, or nobody, on another.
public enum BadmailfromDialect: String, Sendable, Hashable, CaseIterable {
  /// qmail 1.03, netqmail, notqmail: `user@host` or `@host`, ignoring case.
  case stock
  /// The qregex patch (sagredo, qmailtoaster): every line an unanchored POSIX ERE, ignoring case; `!` negates.
  case regex
  /// indimail-mta: exact or `@host`, then the same lines as wildmat patterns; `!` negates.
  case indimail
  /// s/qmail: exact, `@host`, wildmat; `?`, `~` and the endings `+ - =` have meanings.
  case sqmail
  /// qmail-ldap: exact, `@host`, `user@`.
  case ldap
  /// Qsmtp: exact, `@host`; a bare word is a domain.
  case qsmtp

  /// Tells the dialect from the text inside `bin/qmail-smtpd`; nil when it cannot be read or is none of those known, and then
  /// badmailfrom must not be edited until the administrator names the dialect in the policy.
  public static func detect(qmail: String) -> BadmailfromDialect? { nil }

  /// The line that blocks exactly this sender and nobody else, without newline.
  ///
  /// - Parameter sender: `local@domain`, or `@domain` for a whole domain.
  /// - Throws: why there is no such line: outside the strict ASCII grammar, or a form the dialect reads otherwise.
  public func entry(for sender: Address) throws(UnblockableSender) -> [UInt8] {
    throw UnblockableSender(sender: sender, why: "not yet")
  }
}

/// A sender that no line of badmailfrom can block safely, and why.
public struct UnblockableSender: Error, Hashable, Sendable, CustomStringConvertible {
  public var sender: Address
  public var why: String

  public init(sender: Address, why: String) {
    self.sender = sender
    self.why = why
  }

  public var description: String { "\(sender) cannot be listed in badmailfrom: \(why)" }
}
