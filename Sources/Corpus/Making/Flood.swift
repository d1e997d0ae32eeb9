import Mail

/// How the recipients of a flood answer, in hundredths; they are accepted, deferred, rejected.
public struct Mix: Sendable, Hashable, CustomStringConvertible {
  var accepted: Double
  var deferred: Double
  var rejected: Double

  init(_ accepted: Double, _ deferred: Double, _ rejected: Double) {
    (self.accepted, self.deferred, self.rejected) = (accepted, deferred, rejected)
  }

  public var description: String { "\(Int(accepted))/\(Int(deferred))/\(Int(rejected))" }

  func fate(_ dice: inout Dice) -> Fate {
    Town.fate(&dice, rejected: rejected / 100, deferred: deferred / 100)
  }
}

/// A storm to be made: its mail and its truth.
struct Flood: Sendable {
  enum Shape: Sendable {
    /// A stolen password: one sender, one user, a client of its own.
    case account(Town.User, client: String)
    /// An account that sends under a new name each time, of everywhere, of one domain, or of our own users.
    case rotating(Town.User, client: String, senders: Senders)
    /// No account: a client that may relay.
    case openRelay(client: String, senders: Senders)
    /// One sender through many clients without authentication.
    case manyClients(sender: String, clients: Int)
    case script(uid: UInt32, sender: String)
    case rotatingScript(uid: UInt32)
    case backscatter(hosts: Int, daemon: String?)
    /// Bounces to one real user whose name was forged.
    case joeJob(Town.User, hosts: Int)
    case bounceOut(clients: Int, sender: String?)
    case stall
  }
  enum Senders: Sendable {
    case anywhere
    case domain(String)
    case ours(Town)
    /// Looks like a list's: made for each recipient.
    case verpLike
  }

  var shape: Shape
  var from: Double
  var count: Int
  var perSecond: Double
  var mix = Mix(20, 60, 20)
  var recipients = 1
  /// List-Id and Precedence in the header.
  var claimsList = false
  var noisySubject = false
  var pauses: [(from: Double, to: Double)] = []
  /// Number in the scenario.
  var number = 0

  private var sent: Double { Double(count) / perSecond }
  /// When the last of it should have come.
  var until: Double { from + sent + pauses.reduce(0) { $0 + $1.to - $1.from } }

  var kind: String {
    switch shape {
    case .account, .manyClients: "relay-sender"
    case .rotating, .openRelay: "relay-source"
    case .script, .rotatingScript: "local-script"
    case .backscatter, .joeJob: "backscatter-in"
    case .bounceOut: "bounce-out"
    case .stall: "stall"
    }
  }

  func stream(seed: UInt64) -> RandomStream {
    let flood = self
    return RandomStream(
      seed: seed &* 31 &+ UInt64(number) &+ 7, from: from, limit: count,
      rate: { time in
        flood.pauses.contains { $0.from <= time && time < $0.to } ? 0 : flood.perSecond
      }
    ) { dice, n, _ in flood.message(&dice, n) }
  }

  private func message(_ dice: inout Dice, _ n: Int) -> MadeMessage {
    var message: MadeMessage
    switch shape {
    case .account(let user, let client):
      message = out(
        &dice, user.address, .network(client: client, helo: "x", user: user.name))
    case .rotating(let user, let client, let senders):
      message = out(
        &dice, sender(&dice, n, senders), .network(client: client, helo: "x", user: user.name))
    case .openRelay(let client, let senders):
      message = out(
        &dice, sender(&dice, n, senders), .network(client: client, helo: "x", user: nil))
    case .manyClients(let sender, let clients):
      let n = dice.below(clients)
      message = out(
        &dice, Address(sender),
        .network(client: "198.19.\(100 + n / 250).\(n % 250 + 1)", helo: "x", user: nil))
    case .script(let uid, let sender): message = out(&dice, Address(sender), .uid(uid))
    case .rotatingScript(let uid):
      message = out(&dice, sender(&dice, n, .anywhere), .uid(uid))
    case .backscatter(let hosts, let daemon):
      message = MadeMessage(
        daemon.map { Address($0) } ?? .null,
        .network(client: host(&dice, hosts), helo: "mx.far.example", user: nil),
        to: [.init(Town.local("ghost\(n)"), .reject)], subject: "Undelivered Mail")
    case .joeJob(let user, let hosts):
      message = MadeMessage(
        .null, .network(client: host(&dice, hosts), helo: "mx.far.example", user: nil),
        to: [.init(user.address)], subject: "Undelivered Mail")
    case .bounceOut(let clients, let sender):
      let forged = sender ?? "\(dice.below(100_000)).x@forged\(dice.below(80)).example"
      message = MadeMessage(
        Address(forged), .network(client: host(&dice, clients), helo: "x", user: nil),
        to: [.init(Town.local("ghost\(n)"), .reject)], subject: "offer")
      message.senderFate = mix.fate(&dice)
    case .stall: message = MadeMessage(.null, .unknown, to: [])
    }
    message.storm = number
    message.isList = claimsList
    if noisySubject { message.subject = "x\(dice.below(1 << 30))" }
    return message
  }

  private func host(_ dice: inout Dice, _ count: Int) -> String {
    let n = dice.below(count)
    return "198.19.\(50 + n / 250 % 200).\(n % 250 + 1)"
  }

  private func out(_ dice: inout Dice, _ sender: Address, _ source: Source) -> MadeMessage {
    let to: [MadeMessage.Recipient] = (0..<recipients).map { _ in
      .init(Town.stranger(&dice), mix.fate(&dice))
    }
    var message = MadeMessage(sender, source, to: to, subject: "You have won")
    message.senderFate = dice.chance() < 0.5 ? .accept : .reject
    return message
  }

  private func sender(_ dice: inout Dice, _ n: Int, _ senders: Senders) -> Address {
    switch senders {
    case .anywhere: Address("s\(n).\(dice.below(1000))@forged\(dice.below(400)).example")
    case .domain(let domain): Address("s\(n).\(dice.below(1000))@\(domain)")
    case .ours(let town): dice.pick(town.users).address
    case .verpLike: Address("deal-bounces+u\(n)=site\(dice.below(900)).example@offers.example")
    }
  }

  func truth(begins: Double, ends: Double) -> Truth.Storm {
    var storm = Truth.Storm(kind: kind, begins: begins, ends: ends)
    func add(_ type: String, _ value: String) {
      storm.offenders.append(.init(type: type, value: value))
    }
    switch shape {
    case .account(let user, let client):
      let sender = Text.decode(user.address.bytes)
      add("sender", sender)
      add("user", user.name)
      add("client", client)
      storm.blockable = [sender]
    case .rotating(let user, let client, let senders):
      add("user", user.name)
      add("client", client)
      if case .domain(let domain) = senders { add("sender-domain", domain) }
    case .openRelay(let client, let senders):
      add("client", client)
      if case .domain(let domain) = senders {
        add("sender-domain", domain)
        storm.blockable = ["@\(domain)"]
      }
      if case .verpLike = senders { add("sender-domain", "offers.example") }
    case .manyClients(let sender, _):
      add("sender", sender)
      add("sender-domain", Text.decode(Address(sender).domain.text.utf8))
      storm.blockable = [sender]
    case .script(let uid, let sender):
      add("uid", String(uid))
      add("sender", sender)
    case .rotatingScript(let uid): add("uid", String(uid))
    case .backscatter(_, let daemon):
      storm.victims = ["mx.test"]
      if let daemon {
        add("sender", daemon)
        storm.blockable = [daemon]
      }
    case .joeJob(let user, _):
      storm.victims = [Text.decode(user.address.bytes), "mx.test"]
    case .bounceOut(let clients, let sender):
      if clients <= 16 {
        for n in 0..<clients { add("client", "198.19.50.\(n + 1)") }
      }
      if let sender {
        add("sender", sender)
        storm.blockable = [sender]
      }
      storm.victims = ["mx.test"]
    case .stall: break
    }
    return storm
  }
}
