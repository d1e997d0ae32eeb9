import Mail

/// Who lives at mx.test and whom they write to. All names are made up; addresses are of the shared and benchmark ranges.
struct Town: Sendable {
  struct User: Sendable {
    var name: String
    var address: Address
    var client: String
    var source: Source { .network(client: client, helo: "pc-\(name)", user: name) }
  }

  let users: [User]
  private let seed: UInt64

  private static let names = [
    "anna", "ben", "carol", "dave", "emma", "felix", "greta", "hans", "ines", "jan", "karl", "lisa",
    "marc", "nina", "olga", "paul", "rita", "sven", "tina", "uwe",
  ]
  private static let families = [
    "berg", "costa", "dubois", "horvat", "jensen", "kral", "lopez", "maier", "novak", "olsen",
    "rossi", "silva", "smith", "vidal", "weiss",
  ]
  private static let firms = [
    "acme", "north", "omega", "delta", "vector", "lumen", "quarz", "maple", "cedar", "orbit",
  ]
  private static let kinds = ["", "corp", "shop", "works", "net", "group", "-bau", "-ag", "-media"]
  private static let subjects = [
    "minutes", "photos", "lunch?", "contract", "documents", "new address", "question about order",
    "status report", "invoice", "meeting on tuesday",
  ]

  init(users count: Int, seed: UInt64) {
    self.seed = seed
    users = (0..<count).map { n in
      let name = n < 20 ? Self.names[n] : "\(Self.names[n % 20])\(n / 20)"
      let client =
        n % 5 == 4
        ? "100.\(64 + n % 60).\(n % 250).\(n * 7 % 250 + 1)" : "10.20.\(n / 200).\(n % 200 + 1)"
      return User(name: name, address: Address("\(name)@mx.test"), client: client)
    }
  }

  static func local(_ name: String) -> Address { Address("\(name)@mx.test") }

  /// Providers have two fifths of all mailboxes, 90 firms most of the rest.
  static func domain(_ dice: inout Dice) -> String {
    let x = dice.chance()
    if x < 0.25 { return "bigmail.example" }
    if x < 0.33 { return "outmail.example" }
    if x < 0.4 { return "webpost.example" }
    if x < 0.44 { return "inboxly.example" }
    if x < 0.9 { return "\(dice.pick(firms))\(dice.pick(kinds)).example" }
    return "site\(dice.below(2000)).example"
  }

  static func stranger(_ dice: inout Dice) -> Address {
    Address("\(dice.pick(names)).\(dice.pick(families))\(dice.below(1000))@\(domain(&dice))")
  }

  static func host(_ dice: inout Dice, of count: Int = 400) -> String {
    let n = dice.below(count)
    return "198.18.\(n / 250 % 250).\(n % 250 + 1)"
  }

  static func subject(_ dice: inout Dice) -> String {
    "\(dice.pick(subjects)) \(dice.below(100_000))"
  }

  /// Of ordinary mail about 13 % fails at first, and a third of that is delivered later.
  static func ordinaryFate(_ dice: inout Dice) -> Fate {
    fate(&dice, rejected: 0.07, deferred: 0.01, later: 0.045)
  }

  static func fate(
    _ dice: inout Dice, rejected: Double, deferred: Double, later: Double = 0
  ) -> Fate {
    let x = dice.chance()
    if x < rejected { return .reject }
    if x < rejected + deferred { return .deferred }
    return x < rejected + deferred + later ? .later(60 + 600 * dice.chance()) : .accept
  }
}

/// When people are at work: a share of the busiest hour.
struct Rhythm: Sendable {
  /// Hour of the day at the start.
  var hour: Double
  var isFlat = false

  func callAsFunction(_ seconds: Double) -> Double {
    if isFlat { return 1 }
    let hour = (hour + seconds / 3600).truncatingRemainder(dividingBy: 24)
    switch hour {
    case 9..<12, 13..<17: return 1
    case 8..<9, 12..<13, 17..<19: return 0.6
    case 7..<8, 19..<23: return 0.3
    default: return 0.08
    }
  }
}
