import Files
import Mail

/// How a server's qmail-smtpd reads the lines of control/badmailfrom. The variants differ so much that a line
/// written for one blocks everybody, or nobody, on another.
public enum BadmailfromDialect: String, Sendable, Hashable, CaseIterable {
  /// qmail 1.03, netqmail, notqmail: `user@host` or `@host`, ignoring case.
  case stock
  /// The qregex patch (sagredo, qmailtoaster; indimail with `QREGEX`): every line an unanchored POSIX ERE, ignoring case; `!` negates.
  case regex
  /// indimail-mta: exact or `@host`, then the same lines as wildmat patterns; `!` negates. The sender is lower-cased first.
  case indimail
  /// s/qmail, spamcontrol: exact, `@host`, wildmat; a first `?` or `~` and a last `+`, `-` or `=` have meanings.
  case sqmail
  /// qmail-ldap: exact, `@host`, `user@`.
  case ldap
  /// Qsmtp: exact, `@host`; a bare word is a domain with its subdomains.
  case qsmtp

  /// Tells the dialect from the text inside `bin/qmail-smtpd` (or `bin/Qsmtpd`); nil when that cannot be read, is none of those
  /// known or shows traces of a patch, and then badmailfrom must not be edited until the administrator names the dialect in
  /// the policy.
  public static func detect(qmail: String) -> BadmailfromDialect? {
    let programs = ["qmail-smtpd", "Qsmtpd"].compactMap { name -> [UInt8]? in
      guard let file = try? Descriptor.open("\(qmail)/bin/\(name)", [.read, .following]),
        (try? file.status())?.isRegular == true
      else { return nil }
      return try? file.readAll(limit: 64 << 20)
    }
    // With both installed nobody can tell from here which one listens.
    guard programs.count == 1, let program = programs.first else { return nil }
    let dialect = detect(program: program)
    if dialect == .indimail, let switched = try? Descriptor.open("\(qmail)/control/qregex"),
      let bytes = try? switched.readAll(limit: 4096),
      ControlText.firstLine(bytes) != [UInt8(ascii: "0")]
    {
      return .regex
    }
    return dialect
  }

  /// The dialect of a server program, from texts that its sources hold and the others' do not.
  static func detect(program: [UInt8]) -> BadmailfromDialect? {
    let bytes = program.span
    func holds(_ text: String) -> Bool { bytes.contains(Array(text.utf8)) }
    guard holds("badmailfrom") else { return nil }
    var found: [BadmailfromDialect] = []
    if holds("control/badmailfromnorelay"), holds("regcomp") || holds("matches pattern: ") {
      found.append(.regex)
    }
    if holds("badmailpatterns") { found.append(.indimail) }
    if holds("LOCALMFCHECK") { found.append(.sqmail) }
    if holds("control/badmailfrom-unknown") { found.append(.ldap) }
    if holds("goodmailfrom"), holds("filterconf") { found.append(.qsmtp) }
    if let only = found.first { return found.count == 1 ? only : nil }
    let patched = [
      "regcomp", "qregex", "wildmat", "badmailfromnorelay", "badmailfrom-", "badmailfrom.cdb",
      "badmailfrom_", "mysql_",
    ]
    if holds("control/badmailfrom\0"),
      holds("553 sorry, your envelope sender is in my badmailfrom list (#5.7.1)"),
      !patched.contains(where: holds)
    {
      return .stock
    }
    return nil
  }

  /// The line that blocks exactly this sender and nobody else, without newline, in lower case.
  ///
  /// - Parameter sender: `local@domain`, or `@domain` for a whole domain without its subdomains.
  /// - Throws: why there is no such line: outside the strict ASCII grammar, or a form that some dialect reads otherwise.
  public func entry(for sender: Address) throws(UnblockableSender) -> [UInt8] {
    let sender = sender.lowercased
    if let why = SenderGrammar.objection(to: sender) {
      throw UnblockableSender(sender: sender, why: why)
    }
    switch self {
    case .stock, .ldap, .qsmtp: return sender.bytes
    case .indimail, .sqmail: return escaped(sender.bytes, "*?[\\")
    case .regex:
      let any = sender.localPart.isEmpty ? ".+" : ""
      return Array("^\(any)".utf8) + escaped(sender.bytes, ".[\\()*+?{|^$") + [UInt8(ascii: "$")]
    }
  }

  private func escaped(_ bytes: [UInt8], _ special: String) -> [UInt8] {
    bytes.flatMap { special.utf8.contains($0) ? [UInt8(ascii: "\\"), $0] : [$0] }
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

extension Span<UInt8> {
  /// Whether `needle` occurs, by its rarest-looking first byte and comparison: programs are searched once at a start.
  fileprivate func contains(_ needle: [UInt8]) -> Bool {
    guard let first = needle.first, count >= needle.count else { return needle.isEmpty }
    var at = 0
    while at <= count - needle.count {
      if self[at] == first {
        var length = 1
        while length < needle.count, self[at + length] == needle[length] { length += 1 }
        if length == needle.count { return true }
      }
      at += 1
    }
    return false
  }
}
