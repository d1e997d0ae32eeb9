import Mail
import Policy
import Storms

/// The protect list, asked. Each answer is the name by which something is protected, safe for a terminal, or nil.
enum Protected {
  static func sender(_ address: Address, _ protect: Policy.Protection) -> String? {
    let whole = Text.decode(address.lowercased.bytes)
    if protect.senders.contains(whole) { return Escaping.terminal(whole) }
    let domain = "@\(address.domain.text)"
    // A whole domain would take those in it along.
    if address.localPart.isEmpty, let name = protect.senders.first(where: { $0.hasSuffix(domain) })
    {
      return Escaping.terminal(name)
    }
    return domain.utf8.count > 1 && protect.senders.contains(domain)
      ? Escaping.terminal(domain) : nil
  }

  static func client(_ client: String, _ protect: Policy.Protection) -> String? {
    protect.clients.first { ClientRange($0)?.contains(client) ?? ($0 == client) }
      .map { "client \(Escaping.terminal($0))" }
  }

  static func user(_ user: String, _ protect: Policy.Protection) -> String? {
    protect.users.contains(user) ? "user \(Escaping.terminal(user))" : nil
  }

  static func uid(_ uid: UInt32, _ protect: Policy.Protection) -> String? {
    protect.uids.contains(uid) ? "uid \(uid)" : nil
  }

  static func origin(of offender: Offender, _ protect: Policy.Protection) -> String? {
    switch offender {
    case .client(let client): self.client(client, protect)
    case .user(let user): self.user(user, protect)
    case .uid(let uid): self.uid(uid, protect)
    case .sender, .senderDomain: nil
    }
  }

  /// By its sender, or by where it came from; a bounce of ours by its original's.
  static func mail(_ entry: Entry, _ protect: Policy.Protection) -> String? {
    if let name = sender(entry.sender, protect) { return name }
    return source(entry.source, protect)
  }

  private static func source(_ source: Source, _ protect: Policy.Protection) -> String? {
    switch source {
    case .network(let client, _, let user):
      user.flatMap { self.user($0, protect) } ?? self.client(client, protect)
    case .uid(let uid): self.uid(uid, protect)
    case .bounce(let original?):
      sender(original.sender, protect) ?? self.source(original.source, protect)
    case .bounce(nil), .alias, .unknown: nil
    }
  }
}
