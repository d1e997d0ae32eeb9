import Glibc
import Mail
import Storms
import Testing

let start = Timestamp(seconds: 1_795_458_000)
let ours: Set<Domain> = [Domain("mx.test"), Domain("localhost")]

/// What becomes of one recipient.
enum Fate: Sendable {
  case accepted
  case deferred
  case rejected
}

/// Mail through a queue, as a watcher with inotify on todo would see it. Deterministic.
struct Scenario {
  private var observations: [(time: Timestamp, order: Int, event: Observation.Event)] = []
  private var nextID: UInt64 = 1000
  private var seed: UInt64
  /// Identity, sender and client of every message sent.
  private(set) var sent: [(identity: EntryIdentity, name: String)] = []

  init(seed: UInt64 = 42) { self.seed = seed }

  mutating func random(_ bound: Int) -> Int {
    seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return Int((seed >> 33) % UInt64(bound))
  }

  mutating func observe(_ event: Observation.Event, at seconds: Double) {
    let time = start + .milliseconds(Int64(seconds * 1000))
    observations.append((time, observations.count, event))
  }

  /// One message. Its finished recipients finish `delay` seconds after it was taken in; our bounce follows where one failed.
  @discardableResult
  mutating func send(
    at seconds: Double, from sender: String, source: Source,
    to recipients: [(address: String, fate: Fate)], isList: Bool = false, delay: Double = 0.05,
    subject: String = "", name: String = ""
  ) -> EntryIdentity {
    let id = nextID
    nextID += 1
    let todo = EntryIdentity(id: id, birth: start + .milliseconds(Int64(seconds * 1000)))
    let identity = EntryIdentity(id: id, birth: todo.birth + .milliseconds(4))
    sent.append((identity, name))
    observe(
      .arrival(
        Entry(
          identity: todo, size: 900, sender: Address(sender), source: source, isList: isList,
          subject: Array(subject.utf8), unrouted: recipients.map { Address($0.address) },
          isUnprocessed: true)), at: seconds)
    observe(.processed(identity), at: seconds + 0.004)
    var local = 0
    var remote = 0
    var failed = 0
    for recipient in recipients where recipient.fate != .deferred {
      if ours.contains(Address(recipient.address).domain) { local += 1 } else { remote += 1 }
      if recipient.fate == .rejected { failed += 1 }
    }
    let end = seconds + delay
    if local + remote > 0, local + remote < recipients.count {
      observe(
        .progress(
          .init(
            id: id, doneLocal: local, doneRemote: remote, isBouncing: failed > 0, failed: failed)),
        at: end)
    }
    guard local + remote == recipients.count else { return identity }
    if failed > 0 { bounce(at: end, sender: sender, source: source, failed: failed, name: name) }
    observe(.departure(id: id), at: end + 0.002)
    return identity
  }

  /// Our bounce of a message, to its sender; of a null sender's, to the postmaster; a double bounce's goes nowhere.
  private mutating func bounce(
    at seconds: Double, sender: String, source: Source, failed: Int, name: String
  ) {
    guard sender != "#@[]" else { return }
    let origin: Source.Origin
    if case .bounce(let original?) = source {
      origin = original
    } else {
      origin = .init(sender: Address(sender), source: source, failedRecipients: failed)
    }
    send(
      at: seconds, from: sender.isEmpty ? "#@[]" : "", source: .bounce(original: origin),
      to: [(sender.isEmpty ? "postmaster@mx.test" : sender, .accepted)], delay: 0.02,
      name: "bounce of \(name)")
  }

  /// Our bounce of a stranger's mail, deferred where it goes.
  mutating func bounceWaiting(at seconds: Double, to forged: String, client: String, name: String) {
    send(
      at: seconds, from: "",
      source: .bounce(
        original: .init(
          sender: Address(forged), source: .network(client: client, helo: nil, user: nil))),
      to: [(forged, .deferred)], name: name)
  }

  /// Ordinary mail of 30 users and of strangers to them: every `every` seconds one message, 13 % failing, 5 % deferred.
  mutating func ordinaryMail(from begin: Double = 0, to end: Double, every: Double) {
    var time = begin
    while time < end {
      let fate: Fate = random(100) < 13 ? .rejected : random(100) < 5 ? .deferred : .accepted
      let user = random(30)
      if random(2) == 0 {
        send(
          at: time, from: "user\(user)@mx.test",
          source: .network(client: "10.0.0.\(user)", helo: nil, user: "user\(user)"),
          to: [("friend\(random(500))@domain\(random(40)).example", fate)], name: "ordinary")
      } else {
        send(
          at: time, from: "friend\(random(500))@domain\(random(40)).example",
          source: .network(client: "198.18.\(random(40)).1", helo: nil, user: nil),
          to: [("user\(user)@mx.test", fate)], name: "ordinary")
      }
      time += every
    }
  }

  /// Counts every half second, as the watchdog sends them: virtual time.
  mutating func clock(to end: Double, every: Double = 0.5) {
    for tick in 0...Int(end / every) {
      observe(.counts(QueueCounts(messages: 10, unprocessed: 0)), at: Double(tick) * every)
    }
  }

  /// Runs a detector over it all.
  func run(
    _ detector: inout StormDetector,
    each: ((Timestamp, [StormEvent], inout StormDetector) -> Void)? = nil
  ) -> Outcome {
    var outcome = Outcome()
    for item in observations.sorted(by: { ($0.time, $0.order) < ($1.time, $1.order) }) {
      let events = detector.observe(Observation(time: item.time, event: item.event))
      outcome.add(events, at: item.time)
      if !events.isEmpty { each?(item.time, events, &detector) }
    }
    let names = Dictionary(sent.map { ($0.identity, $0.name) }) { a, _ in a }
    outcome.joinedNames = outcome.joined.map { names[$0] ?? "?" }
    return outcome
  }

  func run(
    settings: DetectorSettings = DetectorSettings(), resuming: [Storm] = [], nextIncident: Int = 1
  ) -> Outcome {
    var detector = StormDetector(
      settings: settings, localDomains: ours, resuming: resuming, nextIncident: nextIncident)
    return run(&detector)
  }
}

/// What a detector said.
struct Outcome {
  var began: [(time: Timestamp, storm: Storm)] = []
  var changed: [Storm] = []
  var ended: [Storm] = []
  var joined: [EntryIdentity] = []
  var joinedNames: [String] = []

  mutating func add(_ events: [StormEvent], at time: Timestamp) {
    for event in events {
      switch event {
      case .began(let storm): began.append((time, storm))
      case .changed(let storm): changed.append(storm)
      case .ended(let storm): ended.append(storm)
      case .joined(_, let identity): joined.append(identity)
      }
    }
  }

  /// Storms that lead to a block or a quarantine.
  var grave: [Storm] {
    began.map(\.storm).filter { $0.kind != .surge && $0.kind != .stall }
      + changed.filter { $0.kind != .surge && $0.kind != .stall }
  }
}

/// The bytes of a gzipped file beside the tests.
func gunzip(_ path: String) throws -> [UInt8] {
  let pipe = try #require(popen("gzip -dc '\(path)'", "r"))
  defer { pclose(pipe) }
  var bytes: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 1 << 16)
  while case let count = fread(&buffer, 1, buffer.count, pipe), count > 0 {
    bytes += buffer[..<count]
  }
  return bytes
}
