import Mail

/// What the detector wants to know of a message: who sent it and which way it goes.
struct MailFacts: Sendable {
  /// Which way a message goes decides what it can be evidence of.
  enum Traffic: Sendable, Hashable {
    /// To other hosts, for a sender, user, client or uid who answers for it.
    case outbound
    /// From strangers to our users.
    case inbound
    /// A failure notice from outside to our users: null or daemon sender.
    case notice
    /// Our own bounce (mostly a double bounce) of such a notice.
    case noticeBounced
    /// Our own bounce of a stranger's mail, on its way to whoever was named as sender.
    case bounceOut
    /// Our own bounce to one of ours.
    case bounceHome
    /// Known from the log only, so far.
    case unclear
  }

  var traffic: Traffic
  /// Lower-cased: qmail compares senders without case.
  var sender: Address
  var client: String?
  var user: String?
  var uid: UInt32?
  /// Of our own bounces: the message they tell about.
  var origin: Source.Origin?
  var isListMarked: Bool
  /// The subject without its digits, hashed; 0: not known, or none.
  var subject: UInt64 = 0
  /// A program of a user's sent it on (``Forwarding``).
  private(set) var isSentOn = false
  private(set) var isOfAlias = false
  /// The account was used from elsewhere so far.
  var isStrange = false
  var localCount: Int
  var remoteCount: Int
  var domains = RecipientDomains()
  /// Whom it goes to, in any order.
  private(set) var circle: UInt64 = 0

  init(_ entry: Entry, localDomains: Set<Domain>) {
    sender = entry.sender.lowercased
    isListMarked = entry.isList || entry.sender.isQmailVERP || entry.sender.verpStem != nil
    localCount = entry.local.count
    remoteCount = entry.remote.count
    traffic = .unclear
    let words = entry.subject.lazy.filter { $0 < 0x30 || $0 > 0x39 }
    subject = entry.subject.isEmpty ? 0 : StableHash.of(words)
    // Domains whose mail we take and pass on to another host are ours too: what strangers send there comes in.
    var isForOthers = false
    for recipient in entry.remote {
      let domain = recipient.address.domain
      isForOthers = isForOthers || !localDomains.contains(domain)
      domains.note(domain)
      circle ^= StableHash.of(recipient.address.lowercased.bytes)
    }
    for address in entry.unrouted {
      let domain = address.domain
      if domain.isEmpty || localDomains.contains(domain) {
        localCount += 1
      } else {
        remoteCount += 1
        isForOthers = true
        domains.note(domain)
        circle ^= StableHash.of(address.lowercased.bytes)
      }
    }
    let goesOut = remoteCount > 0
    switch entry.source {
    case .network(let client, _, let user):
      self.client = client
      self.user = user
      let isNotice =
        user == nil
        && (sender.isBounceSender || (sender.isDaemonLike && !localDomains.contains(sender.domain)))
      let isOut = user == nil ? isForOthers : goesOut
      traffic = isOut ? .outbound : isNotice ? .notice : .inbound
    case .uid(let uid):
      self.uid = uid
      traffic = goesOut ? .outbound : .inbound
    case .bounce(let origin):
      self.origin = origin
      traffic = Self.traffic(ofBounceOf: origin, goesOut: goesOut, localDomains)
    case .alias, .unknown:
      isOfAlias = entry.source == .alias
      traffic = goesOut ? .outbound : .inbound
    }
  }

  /// A message of which only the log told so far.
  init(logged sender: Address, uid: UInt32?) {
    self.sender = sender.lowercased
    self.uid = uid
    traffic = .unclear
    isListMarked = sender.isQmailVERP || sender.verpStem != nil
    localCount = 0
    remoteCount = 0
  }

  /// The message a bounce tells about, as far as the bounce tells it. Its recipients are not known.
  init(origin: Source.Origin, traffic: Traffic) {
    sender = origin.sender.lowercased
    self.traffic = traffic
    isListMarked = origin.sender.isQmailVERP || origin.sender.verpStem != nil
    localCount = 0
    remoteCount = 0
    switch origin.source {
    case .network(let client, _, let user):
      self.client = client
      self.user = user
    case .uid(let uid): self.uid = uid
    default: break
    }
  }

  /// Nobody here answers for it.
  mutating func sendOn() { (uid, traffic, isSentOn) = (nil, .outbound, true) }

  private static func traffic(
    ofBounceOf origin: Source.Origin?, goesOut: Bool, _ localDomains: Set<Domain>
  ) -> Traffic {
    guard let origin else { return goesOut ? .bounceOut : .bounceHome }
    guard case .network(_, _, let user) = origin.source, user == nil else { return .bounceHome }
    if origin.sender.isBounceSender { return .noticeBounced }
    let domain = origin.sender.domain
    if origin.sender.isDaemonLike && !localDomains.contains(domain) { return .noticeBounced }
    return goesOut && !localDomains.contains(domain) ? .bounceOut : .bounceHome
  }

  var recipients: Int { localCount + remoteCount }

  /// To other hosts, as far as is known.
  var goesOut: Bool { (traffic == .outbound || traffic == .unclear) && remoteCount > 0 }

  /// Where it came from, as a word.
  var place: String { client ?? user ?? uid.map { String($0) } ?? "" }

  /// The groups this message counts in, narrowest first: whoever could be the offender.
  ///
  /// A VERP sender stands for one recipient only, so no sender group; what an alias forwards was sent by a stranger, whom our
  /// users asked for it.
  func offenders(_ localDomains: Set<Domain>) -> [Offender] {
    var keys: [Offender] = []
    let isAttributable = client != nil || uid != nil || user != nil || traffic == .unclear
    guard isAttributable else { return [] }
    if !sender.isBounceSender, !sender.bytes.isEmpty, sender.verpStem == nil {
      keys.append(.sender(sender))
    }
    if let user { keys.append(.user(user)) }
    if let client { keys.append(.client(client)) }
    if let uid { keys.append(.uid(uid)) }
    let domain = sender.domain
    if client != nil, user == nil, !domain.isEmpty, !localDomains.contains(domain) {
      keys.append(.senderDomain(domain))
    }
    return keys
  }
}

/// Which messages belong to a storm: all of its attributes must fit.
struct Membership: Sendable, Hashable {
  var kind: StormKind
  var sender: Address?
  var user: String?
  var uid: UInt32?
  var senderDomain: Domain?
  /// Nearly all of the storm bears it, and other mail of the same source does not.
  var subject: UInt64?
  /// For a bounce-out: any of them; else all mail of the storm came from the one.
  var clients: Set<String> = []

  init(kind: StormKind, offenders: [Offender]) {
    self.kind = kind
    for offender in offenders {
      switch offender {
      case .sender(let address): sender = address.lowercased
      case .user(let name): user = name
      case .client(let client): clients.insert(client)
      case .uid(let number): uid = number
      case .senderDomain(let domain): senderDomain = domain
      }
    }
  }

  /// Whether this message fits. Unsolicited is asked for notices and for our own bounces only.
  ///
  /// A message known from the log only fits where nothing known speaks against it; it is judged again once it is seen.
  func includes(_ facts: MailFacts, isUnsolicited: Bool) -> Bool {
    switch kind {
    case .stall, .surge: return false
    case .backscatterIn:
      guard facts.traffic == .notice && isUnsolicited || facts.traffic == .noticeBounced else {
        return false
      }
      guard let sender else { return true }
      return sender == facts.sender || sender == facts.origin?.sender.lowercased
    case .bounceOut:
      guard facts.traffic == .bounceOut, isUnsolicited, let origin = facts.origin else {
        return false
      }
      if let sender, origin.sender.lowercased != sender { return false }
      guard !clients.isEmpty else { return true }
      guard case .network(let client, _, _) = origin.source else { return false }
      return clients.contains(client)
    case .relaySender, .relaySource, .localScript:
      // Our bounces of the flood, on their way to whoever it named as sender.
      if facts.traffic.isBounce {
        guard facts.remoteCount > 0, let origin = facts.origin else { return false }
        return includes(MailFacts(origin: origin, traffic: .outbound), isUnsolicited: true)
      }
      let isLogged = facts.traffic == .unclear
      guard facts.traffic == .outbound || isLogged && facts.localCount == 0 else { return false }
      guard sender != nil || user != nil || uid != nil || senderDomain != nil || !clients.isEmpty
      else { return false }
      if isLogged && sender == nil && (uid == nil || facts.uid != uid) { return false }
      // A bounce has its original's sender and source, but not its subject.
      if let subject, facts.subject != subject, facts.subject != 0 { return false }
      if let sender, sender != facts.sender { return false }
      if let user, facts.user != user, !isLogged { return false }
      if let uid, facts.uid != uid { return false }
      if let senderDomain, facts.sender.domain != senderDomain { return false }
      if clients.isEmpty { return true }
      guard let client = facts.client else { return isLogged }
      return clients.contains(client)
    }
  }
}
