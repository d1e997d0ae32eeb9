import Files
import Foundation
import GRDB
import Glibc
import Ledger
import Mail
import QmailSimulator

/// The soak itself: who does what when, and what has to hold at the end of each period.
final class SoakRun {
  private struct Deed {
    var at: Double
    var name: String
    /// Warnings are expected from then on, for so many seconds.
    var excuses: Double
    var run: () throws -> Void
  }

  let plan: SoakPlan
  let folder: String
  private let clock: SkippingClock
  private let server: Server
  private let daemon: WatchedProgram
  private var deeds: [Deed] = []
  /// When warnings are no complaint, in the calendar's seconds.
  private var excused: [(from: Double, to: Double, name: String)] = []
  private var done: [String] = []
  private var faults = 0
  private var eventCounts: [String: Int] = [:]
  private var incidents: [Int64: String] = [:]
  private var released: Set<Int64> = []
  private var weather: [Weather.Storm] = []
  private var lock: DatabaseQueue?
  private var samples: [Sample] = []
  private let begun = WallClock.monotonic()
  private(set) var complaints: [String] = []

  private struct Sample {
    var pid: pid_t
    var memory: Int
    var descriptors: Int
    var ledger: Int64
    var history: Int64
  }

  private var state: String { "\(folder)/state" }
  private var policy: String { "\(folder)/policy.yaml" }

  init(_ plan: SoakPlan) throws {
    self.plan = plan
    if let given = plan.folder {
      folder = given
      try Folder.make(given)
    } else {
      folder = try Folder.makeTemporary("qwarden-soak")
    }
    let here = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    let program = here.split(separator: "/").dropLast().map { "/" + $0 }.joined() + "/qwarden"
    guard access(program, X_OK) == 0 else { throw FileError("run", program) }
    let length = plan.length * Double(plan.periods)
    let begin = plan.isReal ? WallClock.now() : WallClock.now() - .seconds(length + 86_400)
    clock = try SkippingClock(folder: folder, begin: begin)
    server = try Server(folder, program: program, clock: clock)
    daemon = try WatchedProgram(
      program,
      [
        "--qmail", "\(folder)/qmail", "--state", "\(folder)/state", "--policy",
        "\(folder)/policy.yaml",
      ],
      folder: folder, clock: clock)
    try write(policy: Self.policies[0])
    for period in 0..<plan.periods { lay(period) }
    deeds.sort { $0.at < $1.at }
  }

  deinit {
    daemon.end(SIGKILL)
    if plan.folder == nil, complaints.isEmpty {
      try? FileManager.default.removeItem(atPath: folder)
    }
  }

  // MARK: What is to happen

  private static let policies = ["messages: 30", "messages: 35"]

  private func write(policy text: String) throws {
    // With time left out there would be nothing but looks at a quiet queue; systemd is pinged often enough still.
    let pace =
      plan.isReal
      ? "{normal: 5s, storm: 1s, full-pass: 60s}" : "{normal: 30s, storm: 10s, full-pass: 10m}"
    let lengths = plan.isReal ? ("10m", "15m", "2m") : ("6h", "3d", "12m")
    try Replacement.write(
      Array(
        """
        mode: enforce
        polling: \(pace)
        log: {source: \(folder)/log}
        detection: {\(text), pause: \(lengths.2)}
        blocking: {duration: \(lengths.0), longest: 2d, dialect: stock}
        quarantine: {keep: \(plan.isReal ? "1h" : lengths.1), minimum-free-space: 0%, minimum-free-inodes: 0%}
        history: {keep: 3d, size: 4M}
        metrics: {file: \(folder)/metrics.prom}

        """.utf8), to: policy, mode: 0o644)
  }

  /// The deeds of one period. Restarts are at the beginning and at the end of the soak: between them one process lives long.
  private func lay(_ period: Int) {
    let begin = Double(period) * plan.length
    let unit = plan.length / 86_400
    func add(
      _ share: Double, _ name: String, excuses: Double = 0, lasting: Double = 0,
      _ run: @escaping () throws -> Void, end: (() throws -> Void)? = nil
    ) {
      let at = begin + share * plan.length
      deeds.append(Deed(at: at, name: name, excuses: lasting + excuses, run: run))
      if let end { deeds.append(Deed(at: at + lasting, name: "", excuses: 0, run: end)) }
    }
    // Ten minutes of the plan's day, at least what the daemon needs to notice anything.
    let short = max(40, 600 * unit)
    // For what excludes others, in a short soak too.
    let gap = min(120, plan.length * 0.02)
    let isEarly = Double(period) < max(1, Double(plan.periods) * 0.15)
    let isLate = Double(period) >= Double(plan.periods) * 0.9
    let kinds = plan.periods < 4 ? [0, 1, 2, 3, 4, 5, 6, 7, 8] : [period % 9]
    for kind in kinds where plan.periods < 4 ? kind % plan.periods == period : true {
      // In a short soak there are several on a day.
      let place = plan.periods < 4 ? 0.72 + Double(kind) * 0.012 : 0.8
      switch kind {
      case 0:
        add(place, "disk full", excuses: 200, lasting: short) {
          self.clock.isDiskFull = true
        } end: {
          self.clock.isDiskFull = false
        }
      case 1:
        add(place, "queue away", excuses: 100, lasting: gap) {
          try self.server.takeQueueAway(true)
        } end: {
          try self.server.takeQueueAway(false)
        }
      case 2:
        add(place, "inotify overflows", excuses: 100) {
          self.daemon.signal(SIGSTOP)
          self.server.floodTodo(20_000)
          self.daemon.signal(SIGCONT)
        }
      case 3:
        // A storm is on: the ledger is written.
        add(0.2502, "ledger locked", excuses: 300, lasting: 8) {
          try self.lockLedger(true)
        } end: {
          try self.lockLedger(false)
        }
      case 4:
        add(
          place, "clock two hours ahead, and back", excuses: 9000, lasting: 1800 * max(unit, 0.02)
        ) {
          self.clock.jump(7200)
        } end: {
          self.clock.jump(-7200)
        }
      case 5:
        add(place, "clock an hour back, and on", excuses: 5000, lasting: 1800 * max(unit, 0.02)) {
          self.clock.jump(-3600)
        } end: {
          self.clock.jump(3600)
        }
      case 6:
        add(place, "qmail-send stopped", excuses: 900, lasting: gap) {
          self.server.qmail.stop(at: self.clock.now)
        } end: {
          try self.server.qmail.start(at: self.clock.now)
        }
      case 7:
        add(place, "qmail-send killed", excuses: 900, lasting: 20) {
          self.server.qmail.kill()
        } end: {
          try self.server.qmail.start(at: self.clock.now)
        }
      default:
        add(place, "a policy that cannot be used", excuses: 30) {
          try self.write(policy: "mesages: 30")
          self.daemon.signal(SIGHUP)
        }
        add(place + 0.005, "") { try self.write(policy: Self.policies[0]) }
      }
    }
    if isEarly || isLate {
      add(0.2501, "SIGKILL in a storm", excuses: 120) { try self.restart(SIGKILL) }
      add(0.93, "SIGTERM", excuses: 120) { try self.restart(SIGTERM) }
    } else {
      add(0.86, "policy reloaded") {
        try self.write(policy: Self.policies[period % 2])
        self.daemon.signal(SIGHUP)
      }
    }
    add(0.88, "badmailfrom edited") {
      try self.server.editBadmailfrom("bad\(period)@elsewhere.example")
    }
    add(0.90, "log rotated") { self.server.rotateLog() }
    add(0.91, "") { try self.release() }
  }

  private func restart(_ signal: Int32) throws {
    daemon.end(signal)
    try daemon.start()
  }

  private func lockLedger(_ isLocked: Bool) throws {
    if isLocked {
      var configuration = Configuration()
      configuration.allowsUnsafeTransactions = true
      configuration.busyMode = .timeout(5)
      lock = try DatabaseQueue(path: "\(state)/ledger.sqlite", configuration: configuration)
      try lock?.writeWithoutTransaction { try $0.execute(sql: "BEGIN IMMEDIATE") }
    } else {
      try lock?.writeWithoutTransaction { try $0.execute(sql: "ROLLBACK") }
      lock = nil
    }
  }

  /// The administrator gives back every third incident, and lets its sender in again.
  private func release() throws {
    for incident in incidents.keys.sorted()
    where incident % 3 == 0 && released.insert(incident).inserted {
      let status = try daemon.command(["release", "--incident", "\(incident)", "--yes"])
      done.append("released #\(incident)")
      if status != 0, status != 1 {
        complaints.append("release --incident \(incident): status \(status)")
      }
    }
  }

  // MARK: Playing

  static let heading =
    "  day  messages  refused  delivered   failed  queue  aside  expired  storms  memory  fds  ledger  history  longest silence   time"

  func play(_ tell: (String) -> Void) {
    do {
      weather = try playAll(tell)
    } catch { complaints.append("the soak ends: \(error)") }
    daemon.end(SIGTERM)
    take(daemon.events())
    complaints += daemon.complaints
    daemon.complaints = []
    if !daemon.errors.isEmpty { complaints.append("standard error: \(daemon.errors)") }
    judge()
  }

  private func playAll(_ tell: (String) -> Void) throws -> [Weather.Storm] {
    var storms: [Weather.Storm] = []
    try server.qmail.start(at: clock.now)
    try daemon.start()
    for period in 0..<plan.periods {
      let weather = Weather(
        period, length: plan.length, ordinary: plan.ordinary,
        strangers: period == 0 ? plan.strangers : 0, storms: plan.storms, seed: plan.seed)
      storms += weather.storms
      server.expect(weather)
      try run(to: Double(period + 1) * plan.length)
      settle()
      check()
      tell(row(period))
      for complaint in complaints.prefix(20) { tell("       ! \(complaint)") }
      if complaints.count > 200 { break }
      reported += complaints
      complaints = []
      if !daemon.isRunning { break }
    }
    complaints = reported + complaints
    return storms
  }
  private var reported: [String] = []

  private func run(to end: Double) throws {
    while clock.elapsed < end {
      while let deed = deeds.first, deed.at <= clock.elapsed {
        deeds.removeFirst()
        if !deed.name.isEmpty {
          done.append(deed.name)
          faults += 1
        }
        if deed.excuses > 0 {
          let now = clock.now.seconds
          excused.append((now - 7300, now + deed.excuses + 7300, deed.name))
        }
        try deed.run()
      }
      server.step()
      daemon.settle(until: deeds.first?.at ?? .infinity)
      if !daemon.isRunning {
        complaints.append("the daemon ended by itself: \(daemon.errors)")
        return
      }
      advance(to: end)
    }
    take(daemon.events())
  }

  /// To the next moment at which something is due.
  private func advance(to end: Double) {
    let now = clock.elapsed
    var next = min(end, deeds.first?.at ?? end)
    if let due = server.nextDue { next = min(next, due) }
    if let timer = daemon.nextTimer { next = min(next, timer) }
    guard next > now else { return }
    if plan.isReal {
      usleep(UInt32(min(next - now, 0.01) * 1e6) + 50)
    } else {
      clock.skip(to: next)
    }
  }

  /// Until the daemon has done what it began; a storm may still go on.
  private func settle() {
    let deadline = clock.elapsed + 600
    while clock.elapsed < deadline {
      daemon.settle()
      if let text = try? Descriptor.open("\(state)/status.json").readAll(limit: 4 << 20),
        let status = try? JSONValue(text[...]), status["quarantinePending"]?.integer == 0
      {
        return
      }
      server.step()
      advance(to: deadline)
    }
    complaints.append("messages chosen for the quarantine still wait after ten minutes")
  }

  // MARK: Judging

  private func take(_ events: [JSONValue]) {
    for event in events {
      let name = event["event"]?.string ?? ""
      eventCounts[name, default: 0] += 1
      if name == "storm-began", let incident = event["incident"]?.integer {
        incidents[incident] = event["kind"]?.string ?? ""
      }
      guard let priority = event["priority"]?.integer, priority <= 4,
        !["storm-began", "storm-changed", "block-held", "quarantine-held"].contains(name)
      else { continue }
      let time = event["t"]?.number ?? 0
      if excused.contains(where: { $0.from <= time && time <= $0.to }) { continue }
      complaints.append(
        "\(Timestamp(seconds: time).iso8601) \(name): \(event["message"]?.string ?? "")")
    }
    if let first = excused.first, first.to < clock.now.seconds - 100_000 { excused.removeFirst() }
  }

  private func check() {
    take(daemon.events())
    complaints += daemon.complaints
    daemon.complaints = []
    do {
      let ledger = try Ledger("\(state)/ledger.sqlite", creating: false)
      complaints += try server.objections(blocked: Set(ledger.standingBlocks().map(\.entry)))
    } catch { complaints.append("\(error)") }
    server.account.check(state: state)
    complaints += server.account.complaints
    server.account.complaints = []
    samples.append(
      Sample(
        pid: daemon.pid, memory: daemon.ownMemory, descriptors: daemon.descriptors,
        ledger: size("\(state)/ledger.sqlite") + size("\(state)/ledger.sqlite-wal"),
        history: sizes("\(state)/history")))
  }

  private func size(_ path: String) -> Int64 { (try? FileStatus.of(path).size) ?? 0 }
  private func sizes(_ folder: String) -> Int64 {
    let names = (try? Descriptor.open(folder, .directory).names()) ?? []
    return names.reduce(0) { $0 + size("\(folder)/\($1)") }
  }

  private func row(_ period: Int) -> String {
    let (account, sample) = (server.account, samples[samples.count - 1])
    func right(_ value: some Any, _ width: Int) -> String {
      let text = "\(value)"
      return String(repeating: " ", count: max(0, width - text.count)) + text
    }
    let deeds = done.filter { !$0.isEmpty }.joined(separator: ", ")
    done = []
    let seconds = Int((WallClock.monotonic() - begun) / 1_000_000_000)
    return right(period + 1, 5) + right(account.taken, 10) + right(account.refused, 9)
      + right(account.delivered, 11) + right(account.failed, 9) + right(account.openCount, 7)
      + right(account.keptCount, 7) + right(account.expired, 9) + right(incidents.count, 8)
      + right("\(sample.memory) K", 8) + right(sample.descriptors, 5)
      + right("\(sample.ledger / 1024) K", 8) + right("\(sample.history / 1024) K", 9)
      + right("\(Int(daemon.longestSilence.rounded(.up))) s", 17) + right("\(seconds) s", 7)
      + "  \(deeds)"
  }

  /// What only the whole can show.
  private func judge() {
    if incidents.isEmpty { complaints.append("no storm was seen") }
    guard let (first, last) = longLife else { return }
    func grows(_ what: String, _ a: Double, _ b: Double, by limit: Double) {
      if b > a * limit {
        complaints.append("\(what) grew from \(Int(a)) to \(Int(b))")
      }
    }
    grows("memory of its own (KiB)", mean(first, \.memory), mean(last, \.memory), by: 1.05)
    grows("open descriptors", mean(first, \.descriptors), mean(last, \.descriptors), by: 1.05)
    grows("the ledger", mean(first, \.ledger), mean(last, \.ledger), by: 1.5)
  }

  /// The first third of the life of the longest-lived process, without its first days, and its last days.
  private var longLife: (first: [Sample], last: [Sample])? {
    let lives = Dictionary(grouping: samples, by: \.pid).values
    guard let life = lives.max(by: { $0.count < $1.count }), life.count >= 12 else { return nil }
    return (Array(life.dropFirst(4).prefix(4)), Array(life.suffix(4)))
  }

  private func mean(_ samples: [Sample], _ value: (Sample) -> some BinaryInteger) -> Double {
    samples.reduce(0) { $0 + Double(value($1)) } / Double(samples.count)
  }

  var verdict: [String] {
    let account = server.account
    var lines = [
      "",
      "\(plan.isReal ? "\(plan.periods) periods of ten minutes" : "\(plan.periods) days"): \(account.taken) messages, \(weather.count) storms sent and \(incidents.count) seen, \(faults) deeds and faults, \(daemon.starts) starts, \(daemon.pings) pings, the longest silence \(Int(daemon.longestSilence.rounded(.up))) s of \(Int(WatchedProgram.watchdog)).",
      "events: "
        + eventCounts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(
          separator: ", "),
    ]
    if let (first, last) = longLife {
      func share(_ value: (Sample) -> some BinaryInteger) -> String {
        let change = (mean(last, value) / max(1, mean(first, value)) - 1) * 100
        let tenths = Int((change * 10).rounded())
        return "\(tenths < 0 ? "-" : "+")\(abs(tenths) / 10).\(abs(tenths) % 10) %"
      }
      lines.append(
        "in the longest life: memory of its own \(share(\.memory)), descriptors \(share(\.descriptors)), ledger \(share(\.ledger)), history \(share(\.history))"
      )
    }
    if complaints.isEmpty {
      lines.append("Every invariant held.")
    } else {
      lines.append("\(complaints.count) complaints; the files are in \(folder):")
      lines += complaints.prefix(50).map { "- \($0)" }
    }
    return lines
  }
}
