import Mail

/// What a mail server does all day, as streams.
struct OrdinaryMail: Sendable {
  var town: Town
  var rhythm: Rhythm
  var seed: UInt64
  /// Messages a second in the busiest hour, all of it together.
  var perSecond: Double

  func streams(isWholeDay: Bool) -> [any MailStream] {
    var streams: [any MailStream] = [
      outgoing, among, incoming, throughSecondary, spam, notices, forwarded, probes, cron,
    ]
    if isWholeDay { streams += [replies, scripts, webmail, office] }
    return streams
  }

  private func stream(
    _ place: UInt64, _ share: Double, _ make: @escaping RandomStream.Make
  ) -> RandomStream {
    let (rhythm, rate) = (rhythm, perSecond * share)
    return RandomStream(
      seed: seed &* 64 &+ place, rate: { rate * rhythm($0) }, make: make)
  }

  /// Of users to the world: one recipient mostly. Once in a while somebody writes from elsewhere.
  private var outgoing: RandomStream {
    let town = town
    return stream(1, 0.36) { dice, _, _ in
      let number = Int(Double(town.users.count) * dice.chance() * dice.chance())
      let user = town.users[number]
      let count = dice.chance() < 0.88 ? 1 : 2 + dice.below(5)
      let source: Source =
        dice.chance() < 0.03
        ? .network(
          client: "100.99.\(number % 250).\(dice.below(20) + 1)", helo: "phone", user: user.name)
        : user.source
      return MadeMessage(
        user.address, source,
        to: (0..<count).map { _ in
          .init(Town.stranger(&dice), Town.ordinaryFate(&dice))
        }, subject: Town.subject(&dice))
    }
  }

  private var among: RandomStream {
    let town = town
    return stream(2, 0.12) { dice, _, _ in
      let user = dice.pick(town.users)
      return MadeMessage(
        user.address, user.source, to: [.init(dice.pick(town.users).address)],
        subject: Town.subject(&dice))
    }
  }

  private var incoming: RandomStream {
    let town = town
    return stream(3, 0.36) { dice, _, _ in
      MadeMessage(
        Town.stranger(&dice), .network(client: Town.host(&dice), helo: "mx.far.example", user: nil),
        to: [.init(dice.pick(town.users).address)], subject: Town.subject(&dice))
    }
  }

  /// Our secondary MX brings the mail of many senders.
  private var throughSecondary: RandomStream {
    let town = town
    return stream(4, 0.05) { dice, _, _ in
      let isUnknown = dice.chance() < 0.12
      return MadeMessage(
        Town.stranger(&dice), .network(client: "198.19.0.2", helo: "mx2.mx.test", user: nil),
        to: [
          .init(
            isUnknown ? Town.local("old\(dice.below(500))") : dice.pick(town.users).address,
            isUnknown ? .reject : .accept)
        ], subject: Town.subject(&dice))
    }
  }

  /// To people who do not exist, with forged senders: a steady drizzle on every server.
  private var spam: RandomStream {
    stream(5, 0.02) { dice, n, _ in
      var message = MadeMessage(
        Town.stranger(&dice), .network(client: Town.host(&dice, of: 20_000), helo: "x", user: nil),
        to: [.init(Town.local("nosuch\(n)"), .reject)], subject: "offer \(dice.below(1000))")
      message.senderFate = Town.fate(&dice, rejected: 0.4, deferred: 0.2)
      message.storm = MadeMessage.drizzle
      return message
    }
  }

  /// Failure notices from other hosts for what our users sent, a few to nobody.
  private var notices: RandomStream {
    let town = town
    return stream(6, 0.012) { dice, n, _ in
      let isStray = dice.chance() < 0.2
      let number = Int(Double(town.users.count) * dice.chance() * dice.chance())
      var message = MadeMessage(
        .null, .network(client: Town.host(&dice), helo: "mx.far.example", user: nil),
        to: [
          isStray
            ? .init(Town.local("nosuch\(n)"), .reject) : .init(town.users[number].address)
        ], subject: "Undelivered Mail Returned to Sender")
      if isStray { message.storm = MadeMessage.drizzle }
      return message
    }
  }

  /// Every tenth user has a forward to elsewhere.
  private var forwarded: RandomStream {
    let town = town
    return stream(7, 0.04) { dice, _, _ in
      let place = dice.below(max(1, town.users.count / 10)) * 10
      let user = town.users[min(place, town.users.count - 1)]
      var recipient = MadeMessage.Recipient(user.address)
      recipient.forward = (
        Address("\(user.name).private@bigmail.example"), dice.chance() < 0.05 ? .reject : .accept
      )
      return MadeMessage(
        Town.stranger(&dice), .network(client: Town.host(&dice), helo: "mx.far.example", user: nil),
        to: [recipient], subject: Town.subject(&dice))
    }
  }

  private var probes: RandomStream {
    RandomStream(seed: seed &* 64 &+ 8, from: 3, every: 60) { _, n, _ in
      MadeMessage(
        Address("probe@monitor.example"),
        .network(client: "198.19.0.9", helo: "monitor.example", user: nil),
        to: [.init(Town.local("probe"))], subject: "probe \(n)")
    }
  }

  private var cron: RandomStream {
    RandomStream(seed: seed &* 64 &+ 9, from: 11, every: 300) { _, n, _ in
      MadeMessage(
        Town.local("root"), .uid(0), to: [.init(Town.local("postmaster"))], subject: "cron")
    }
  }

  /// Two users are on holiday and their mailbox says so to everybody.
  private var replies: RandomStream {
    let town = town
    return stream(10, 0.01) { dice, _, _ in
      let place = dice.below(2)
      return MadeMessage(
        town.users[place].address, .uid(UInt32(2000 + place)),
        to: [.init(Town.stranger(&dice), Town.fate(&dice, rejected: 0.25, deferred: 0.03))],
        subject: "Away until monday")
    }
  }

  /// The shop's confirmations, by uid 33.
  private var scripts: RandomStream {
    stream(11, 0.04) { dice, _, _ in
      MadeMessage(
        Town.local("shop"), .uid(33),
        to: [
          .init(Town.stranger(&dice), Town.fate(&dice, rejected: 0.09, deferred: 0.01, later: 0.04))
        ],
        subject: "Your order \(dice.below(100_000))")
    }
  }

  /// One webmail host for many users, who authenticate by name.
  private var webmail: RandomStream {
    let town = town
    return stream(12, 0.08) { dice, _, _ in
      let user = dice.pick(town.users)
      return MadeMessage(
        user.address, .network(client: "10.20.9.80", helo: "webmail", user: user.name),
        to: [.init(Town.stranger(&dice), Town.ordinaryFate(&dice))], subject: Town.subject(&dice))
    }
  }

  /// A branch office behind one address, without authentication.
  private var office: RandomStream {
    stream(13, 0.06) { dice, _, _ in
      MadeMessage(
        Address("staff\(dice.below(30))@branch.example"),
        .network(client: "10.20.8.1", helo: "branch", user: nil),
        to: [.init(Town.stranger(&dice), Town.ordinaryFate(&dice))], subject: Town.subject(&dice))
    }
  }
}
