import Mail

/// What `control/` said at one moment about this server's own names.
public struct ControlSnapshot: Sendable, Hashable {
  /// `control/me`: the server's name, the default of several other files (qmail-control(5)). Empty when that file is missing.
  public let me: Domain
  /// `control/locals`, or `me` alone when that file is missing (qmail-send(8)).
  public let locals: Set<Domain>
  /// `control/rcpthosts` and `control/morercpthosts`: domains taken by SMTP; `.example.com` means its subdomains (qmail-smtpd(8)).
  public let rcpthosts: Set<Domain>
  /// `control/virtualdomains`: `user@domain`, `domain`, `.suffix` or nothing, ASCII lower-cased, to the prepend; an empty
  /// prepend makes an exception (qmail-send(8)).
  public let virtualdomains: [Address: Address]
  /// Where double bounces go: doublebounceto@doublebouncehost.
  public let doubleBounceRecipient: Address
  /// What an administrator should know: lines that can never match, files that were not read.
  public let notes: [String]
  /// All domains that are this server's own: me, locals, rcpthosts, and virtualdomains with a prepend. Subdomain wildcards stand
  /// with their leading dot: ask ``isLocal(_:)`` where they matter.
  public let localDomains: Set<Domain>

  private let prepends: Set<Address>

  public init(
    me: Domain, locals: Set<Domain>? = nil, rcpthosts: Set<Domain> = [],
    virtualdomains: [Address: Address] = [:], doubleBounceRecipient: Address? = nil,
    notes: [String] = []
  ) {
    self.me = me
    self.locals = locals ?? [me]
    self.rcpthosts = rcpthosts
    self.virtualdomains = virtualdomains
    self.doubleBounceRecipient = doubleBounceRecipient ?? Address("postmaster@\(me.text)")
    self.notes = notes
    var domains = self.locals.union(rcpthosts)
    domains.insert(me)
    for (key, prepend) in virtualdomains
    where !prepend.isNull && !key.bytes.contains(UInt8(ascii: "@")) {
      domains.insert(Domain(bytes: key.bytes))
    }
    // The empty key is a catch-all: it routes all mail, but does not make every domain our own.
    domains.remove(Domain(""))
    localDomains = domains
    prepends = Set(virtualdomains.values.filter { !$0.isNull })
  }

  /// Whether the domain is this server's own, subdomain wildcards and virtualdomains' exceptions included.
  public func isLocal(_ domain: Domain) -> Bool {
    if domain == me || locals.contains(domain) || rcpthosts.contains(domain) {
      return !domain.isEmpty
    }
    let bytes = Array(domain.text.utf8)
    let suffixes = bytes.indices.filter { bytes[$0] == UInt8(ascii: ".") }.map { bytes[$0...] }
    if suffixes.contains(where: { rcpthosts.contains(Domain(bytes: $0)) }) { return true }
    for key in [bytes[...]] + suffixes {
      if let prepend = virtualdomains[Address(key)] { return !prepend.isNull }
    }
    return false
  }

  /// Whether mail to this address stays here: its domain is local, or virtualdomains names the address itself.
  public func isLocal(_ address: Address) -> Bool {
    if let prepend = virtualdomains[address.lowercased] { return !prepend.isNull }
    return isLocal(address.domain)
  }

  /// The recipient as it was before qmail-send put a virtual domain's prepend in front (`bob@v.test` with `v.test:joe` is
  /// kept in `local/` as `joe-bob@v.test`). Only for records of the local channel: re-injecting the record as it is would put
  /// the prepend there twice.
  ///
  /// Whatever comes back, qmail-send would now turn into this very record; an address that no present line explains
  /// (virtualdomains was changed meanwhile) comes back unchanged.
  public func withoutPrepend(localRecipient record: Address) -> Address {
    guard !prepends.isEmpty, !locals.contains(record.domain) else { return record }
    for (index, byte) in record.localPart.enumerated() where byte == UInt8(ascii: "-") {
      guard prepends.contains(Address(record.bytes[..<index])) else { continue }
      let recipient = Address(record.bytes[(index + 1)...])
      if localRecord(of: recipient) == record { return recipient }
    }
    return record
  }

  /// What qmail-send writes into `local/` for a recipient; nil when it goes to the remote channel (qmail-send.c, rewrite();
  /// percenthack left out: by the time a record exists it has been undone).
  func localRecord(of recipient: Address) -> Address? {
    let bytes = recipient.bytes
    guard let at = bytes.lastIndex(of: UInt8(ascii: "@")) else { return nil }
    if locals.contains(recipient.domain) { return recipient }
    let key = recipient.lowercased.bytes
    // The order of rewrite(): the whole address, the domain, each suffix from a dot on, nothing.
    var starts = [0, at + 1]
    starts += key.indices.filter { $0 > at + 1 && key[$0] == UInt8(ascii: ".") }
    starts.append(key.count)
    for start in starts {
      guard let prepend = virtualdomains[Address(key[start...])] else { continue }
      if prepend.isNull { return nil }
      return Address(prepend.bytes + [UInt8(ascii: "-")] + bytes)
    }
    return nil
  }
}
