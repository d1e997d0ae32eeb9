import Mail

/// Mail in bulk that nobody is to be blamed for.
enum Campaign {
  /// Mailman's way: a message and a sender for each member.
  static func mailman(
    _ seed: UInt64, at: Double, members: Int, perSecond: Double, failing: Double = 0.03
  ) -> RandomStream {
    RandomStream(seed: seed, from: at, limit: members, rate: { _ in perSecond }) { dice, n, _ in
      let member = Town.stranger(&dice)
      let box = Text.decode(member.localPart)
      var message = MadeMessage(
        Town.local("club-bounces+\(box)=\(member.domain.text)"), .uid(38),
        to: [.init(member, Town.fate(&dice, rejected: failing, deferred: 0.02, later: 0.02))],
        subject: "[club] meeting")
      message.isList = true
      return message
    }
  }

  /// ezmlm's way: one message to all, qmail makes the senders.
  static func ezmlm(_ seed: UInt64, at: Double, members: Int) -> RandomStream {
    RandomStream(seed: seed, from: at, limit: 1, rate: { _ in 1 }) { dice, n, _ in
      var message = MadeMessage(
        Address("news-return-7-@mx.test-@[]"), .uid(1000),
        to: (0..<members).map { _ in
          .init(
            Town.stranger(&dice), Town.fate(&dice, rejected: 0.03, deferred: 0.02, later: 0.03))
        }, subject: "News")
      message.isList = true
      return message
    }
  }

  /// From a program or an account of ours, one sender, a message for each customer.
  static func run(
    _ seed: UInt64, from source: Source, sender: String, at: Double, count: Int, perSecond: Double,
    failing: Double, isList: Bool = false, subject: String
  ) -> RandomStream {
    RandomStream(seed: seed, from: at, limit: count, rate: { _ in perSecond }) { dice, n, _ in
      var message = MadeMessage(
        Address(sender), source,
        to: [
          .init(
            Town.stranger(&dice),
            Town.fate(&dice, rejected: failing, deferred: 0.02, later: 0.03))
        ], subject: isList ? subject : "\(subject) \(n + 1000)")
      message.isList = isList
      message.size = 30_000
      return message
    }
  }

  /// A busy Monday: everybody writes several times as much for an hour.
  static func rush(_ town: Town, _ seed: UInt64, at: Double, seconds: Double, perSecond: Double)
    -> RandomStream
  {
    RandomStream(seed: seed, from: at, to: at + seconds, rate: { _ in perSecond }) { dice, _, _ in
      let user = dice.pick(town.users)
      return MadeMessage(
        user.address, user.source, to: [.init(Town.stranger(&dice), Town.ordinaryFate(&dice))],
        subject: Town.subject(&dice))
    }
  }
}
