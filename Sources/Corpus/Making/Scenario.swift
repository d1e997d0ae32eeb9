import Mail
import Storms

/// A piece of a mail server's life with what ought to be found in it.
public struct Scenario: Sendable {
  public var name: String
  var seed: UInt64
  var seconds: Double
  var users = 40
  /// Ordinary messages a second in the busiest hour.
  var perSecond = 1.5
  /// Hour of the day at the start.
  var hour = 10.0
  var isWholeDay = false
  var floods: [Flood] = []
  var campaigns: [any MailStream] = []
  var outages: [VirtualQmail.Outage] = []
  var stalls: [(from: Double, to: Double)] = []
  var fullMailboxes: Set<Address> = []
  var hasLog = true

  init(_ name: String, seed: UInt64, minutes: Double = 5) {
    (self.name, self.seed, seconds) = (name, seed, minutes * 60)
  }

  var town: Town { Town(users: users, seed: seed) }
  /// Monday, 23 November 2026, at the scenario's hour.
  var start: Timestamp { Timestamp(seconds: 1_795_392_000 + hour * 3600) }

  public var header: TraceReader.Header {
    var header = TraceReader.Header()
    header.host = "mx.test"
    header.localDomains = [VirtualQmail.ours, Domain("localhost")]
    header.started = start.iso8601
    return header
  }

  /// Plays it: every observation with the storm its message belongs to, if it is an arrival of one. Gives the truth.
  public func play(_ take: VirtualQmail.Take) -> (truth: Truth, injected: [Int: [Double]]) {
    var qmail = VirtualQmail(start: start, seed: seed)
    let town = town
    qmail.users = Set(
      town.users.map(\.address) + ["postmaster", "probe", "root", "www", "shop"].map(Town.local))
    (qmail.outages, qmail.stalls, qmail.fullMailboxes) = (outages, stalls, fullMailboxes)
    qmail.hasLog = hasLog
    var dice = Dice(seed &+ 99)
    // What waits from before.
    for _ in 0..<30 {
      let user = dice.pick(town.users)
      qmail.addOld(
        MadeMessage(
          user.address, user.source, to: [.init(Town.stranger(&dice), .deferred)],
          subject: Town.subject(&dice)), age: 600 + 80_000 * dice.chance())
    }
    let rhythm = Rhythm(hour: hour, isFlat: !isWholeDay)
    let ordinary = OrdinaryMail(town: town, rhythm: rhythm, seed: seed, perSecond: perSecond)
    for stream in ordinary.streams(isWholeDay: isWholeDay) + campaigns { qmail.add(stream) }
    for (number, flood) in floods.enumerated() {
      if case .stall = flood.shape { continue }
      var flood = flood
      flood.number = number
      qmail.add(flood.stream(seed: seed))
    }
    qmail.run(for: seconds, take: take)
    return (truth(qmail), qmail.injected)
  }

  private func truth(_ qmail: VirtualQmail) -> Truth {
    var truth = Truth()
    truth.note = name
    for (number, flood) in floods.enumerated() {
      let times = qmail.injected[number] ?? []
      var storm = flood.truth(
        begins: start.seconds + (times.first ?? flood.from),
        ends: start.seconds + (times.last ?? flood.until))
      storm.messages = times.count
      truth.storms.append(storm)
    }
    return truth
  }
}
