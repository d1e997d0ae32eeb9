import Files
import Glibc
import Mail

/// How qmail-smtpd answered one client.
public struct SMTPOutcome: Hashable, Sendable {
  public struct Reply: Hashable, Sendable, CustomStringConvertible {
    public var code: Int
    public var text: String
    public var description: String { "\(code) \(text)" }
  }

  /// To each RCPT, in the order given; a lone 421 when the connection was refused.
  public var replies: [Reply]
  /// The queue number when at least one recipient was accepted and queued.
  public var entry: UInt64?
}

extension SimulatedQmail {
  /// One SMTP session: reads `control/badmailfrom` and `rcpthosts` as stock qmail-smtpd does at its start, answers each RCPT, and queues the
  /// message for the recipients that it accepted.
  ///
  /// - Parameter user: TCPREMOTEINFO, who may relay; nil when the client has not authenticated.
  public func offer(
    sender: Address, recipients: [Address], client: String, user: String? = nil,
    helo: String? = nil, message: [UInt8], at now: Timestamp
  ) -> SMTPOutcome {
    let bad: Set<[UInt8]>
    let hosts: Set<[UInt8]>?
    do {
      let path = "\(qmail)/control/badmailfrom"
      // qmaild is neither root nor in the group of the usual owner: without the others' bit it cannot read the file.
      if let status = try? FileStatus.of(path, following: true), status.permissions & 0o004 == 0 {
        throw FileError("read", path, code: EACCES)
      }
      bad = Set(
        try SimulatedControls.lines(path).map { $0.map { $0.map(\.asciiLowercased) } } ?? [])
      hosts = try SimulatedControls.lines("\(qmail)/control/rcpthosts").map {
        Set($0.map { $0.map(\.asciiLowercased) })
      }
    } catch {
      return SMTPOutcome(replies: [.init(code: 421, text: "unable to read controls (#4.3.0)")])
    }
    let from = sender.lowercased.bytes
    let at = from.lastIndex(of: UInt8(ascii: "@")) ?? from.endIndex
    let isBad = bad.contains(from) || at < from.endIndex && bad.contains(Array(from[at...]))
    var accepted: [Address] = []
    var replies = recipients.map { recipient -> SMTPOutcome.Reply in
      if isBad {
        return .init(
          code: 553, text: "sorry, your envelope sender is in my badmailfrom list (#5.7.1)")
      }
      guard user != nil || Self.isAllowed(recipient, hosts) else {
        return .init(
          code: 553, text: "sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)")
      }
      accepted.append(recipient)
      return .init(code: 250, text: "ok")
    }
    guard !accepted.isEmpty else { return SMTPOutcome(replies: replies) }
    do {
      let id = try inject(
        SimulatedInjection(
          sender: sender, recipients: accepted,
          source: .network(client: client, helo: helo, user: user), message: message), at: now)
      return SMTPOutcome(replies: replies, entry: id)
    } catch {
      let isPermanent = (11...40).contains(error.code)
      replies = replies.map {
        $0.code == 250
          ? .init(code: isPermanent ? 554 : 451, text: "qq trouble (#\(isPermanent ? 5 : 4).3.0)")
          : $0
      }
      return SMTPOutcome(replies: replies)
    }
  }

  /// rcpthosts.c: everything without a file; else the domain itself, or a suffix listed with its dot.
  private static func isAllowed(_ recipient: Address, _ hosts: Set<[UInt8]>?) -> Bool {
    guard let hosts else { return true }
    let bytes = recipient.lowercased.bytes
    guard let at = bytes.lastIndex(of: UInt8(ascii: "@")) else { return true }
    let domain = Array(bytes[(at + 1)...])
    return domain.indices.contains { i in
      (i == 0 || domain[i] == 46) && hosts.contains(Array(domain[i...]))
    }
  }
}
