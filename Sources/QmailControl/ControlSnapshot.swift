import Mail

/// What `control/` said at one moment about this server's own names.
public struct ControlSnapshot: Sendable, Hashable {
  /// `control/me`: the server's name, the default of several other files (qmail-control(5)).
  public var me: Domain
  /// `control/locals`, or `me` alone when that file is missing (qmail-send(8)).
  public var locals: Set<Domain>
  /// `control/rcpthosts` and `control/morercpthosts`: domains taken by SMTP; `.example.com` means its subdomains (qmail-smtpd(8)).
  public var rcpthosts: Set<Domain>
  /// `control/virtualdomains`: `user@domain`, `domain`, `.suffix` or nothing, ASCII lower-cased, to the prepend; an empty
  /// prepend makes an exception (qmail-send(8)).
  public var virtualdomains: [Address: Address]
  /// Where double bounces go: doublebounceto@doublebouncehost.
  public var doubleBounceRecipient: Address
  /// What an administrator should know: lines that can never match, files that were not read.
  public var notes: [String]

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
  }

  /// All domains that are this server's own: me, locals, rcpthosts and virtualdomains with a prepend. Subdomain wildcards stand
  /// with their leading dot: ask ``isLocal(_:)-(Domain)`` where they matter.
  public var localDomains: Set<Domain> {
    var domains = locals.union(rcpthosts)
    domains.insert(me)
    for (key, prepend) in virtualdomains
    where !prepend.bytes.isEmpty && !key.bytes.isEmpty && !key.bytes.contains(UInt8(ascii: "@")) {
      domains.insert(Domain(bytes: key.bytes))
    }
    return domains
  }

  /// Whether the domain is this server's own, wildcards included.
  public func isLocal(_ domain: Domain) -> Bool { localDomains.contains(domain) }

  /// The recipient as it was before qmail-send put a virtual domain's prepend in front (`bob@v.test` with `v.test:joe` is
  /// kept in `local/` as `joe-bob@v.test`). Only for records of the local channel; re-injecting the record as it is would put the
  /// prepend there twice. An address that no present line of virtualdomains explains comes back unchanged.
  public func withoutPrepend(localRecipient: Address) -> Address { localRecipient }
}
