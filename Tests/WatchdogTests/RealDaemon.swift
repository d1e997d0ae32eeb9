import Files
import Fixtures
import Foundation
import Glibc
import Mail
import QmailQueue
import QmailSimulator
import Synchronization
import Testing
import Watchdog

@testable import soak

/// The built program as a daemon of its own, with a service manager's end of its notify socket, and faults to be injected.
final class RealDaemon {
  private let process = Process()
  private let notify: Descriptor
  private let name: String
  private let output: String
  private let faults: String
  private var read = 0
  private(set) var events: [[String: Any]] = []
  /// The latest STATUS, and how many keep-alives came.
  private(set) var status = ""
  private(set) var pings = 0
  private(set) var isReady = false
  private(set) var mostBetweenPings = 0.0
  private var lastPing = WallClock.monotonic()

  var pid: pid_t { process.processIdentifier }

  /// - Parameters:
  ///   - folder: where its output and the list of faults are.
  ///   - faults: injected from the start on.
  ///   - preparation: a shell's command in a mount namespace of the daemon's own, before it starts.
  init(
    _ words: [String], in folder: String, faults lines: [String] = [],
    preparation: String? = nil
  ) throws {
    let shim = try #require(Shim.shared)
    output = "\(folder)/events"
    faults = "\(folder)/faults"
    name = "/tmp/qwarden-notify-\(UUID().uuidString)"
    notify = try UnixSocket.receiver(at: name)
    if !lines.isEmpty { try inject(lines) }
    let command = [shim.program, "run", "--json"] + words
    if let preparation {
      process.executableURL = URL(fileURLWithPath: "/usr/bin/unshare")
      process.arguments =
        ["-m", "/bin/sh", "-c", "\(preparation) && exec \"$0\" \"$@\""] + command
    } else {
      process.executableURL = URL(fileURLWithPath: command[0])
      process.arguments = Array(command.dropFirst())
    }
    var environment = ProcessInfo.processInfo.environment
    environment["LD_PRELOAD"] = shim.library
    environment["FAULTS"] = faults
    environment["NOTIFY_SOCKET"] = name
    process.environment = environment
    _ = FileManager.default.createFile(atPath: output, contents: nil)
    process.standardOutput = try FileHandle(forWritingTo: URL(fileURLWithPath: output))
    process.standardError = FileHandle.nullDevice
    process.standardInput = FileHandle.nullDevice
    try process.run()
  }

  deinit {
    if process.isRunning { kill(pid, SIGKILL) }
    unlink(name)
  }

  func inject(_ lines: [String]) throws {
    try Replacement.write(
      Array(lines.joined(separator: "\n").utf8), to: faults, mode: 0o644, durable: false)
  }

  func mend() { unlink(faults) }

  /// Takes in what it has said.
  func look() {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = recv(notify.number, &buffer, buffer.count, Int32(MSG_DONTWAIT))
      guard count >= 0 else { break }
      for line in String(decoding: buffer[..<count], as: UTF8.self).split(separator: "\n") {
        if line == "READY=1" { isReady = true }
        if line == "WATCHDOG=1" {
          pings += 1
          let now = WallClock.monotonic()
          mostBetweenPings = max(mostBetweenPings, Double(now - lastPing) / 1e9)
          lastPing = now
        }
        if line.hasPrefix("STATUS=") { status = String(line.dropFirst(7)) }
      }
    }
    guard let data = FileManager.default.contents(atPath: output) else { return }
    let fresh = data.dropFirst(read)
    guard let end = fresh.lastIndex(of: 0x0A) else { return }
    for line in fresh[...end].split(separator: 0x0A) {
      if let event = try? JSONSerialization.jsonObject(with: line) as? [String: Any] {
        events.append(event)
      }
    }
    read = end + 1
  }

  /// The messages of the events of that name (`""`: of all).
  func said(_ name: String) -> [String] {
    events.filter { name.isEmpty || $0["event"] as? String == name }
      .map { $0["message"] as? String ?? "" }
  }

  /// Waits until `condition` holds, at most so many seconds.
  func wait(_ seconds: Double, until condition: () throws -> Bool) async throws -> Bool {
    let end = WallClock.monotonic() + Int64(seconds * 1e9)
    while true {
      look()
      if try condition() { return true }
      guard WallClock.monotonic() < end, process.isRunning else { return false }
      try await Task.sleep(for: .milliseconds(50))
    }
  }

  /// Its open descriptors and resident kilobytes.
  var burden: (descriptors: Int, memory: Int) {
    let open = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd").count) ?? 0
    let text = (try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)) ?? ""
    let line = text.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
    return (open, line?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0)
  }

  /// A path as the daemon sees it, also below a filesystem of its own.
  func path(_ path: String) -> String { "/proc/\(pid)/root\(path)" }

  /// - Returns: its exit status; nil when it did not end by itself.
  func stop() async throws -> Int32? {
    guard process.isRunning else { return nil }
    kill(pid, SIGTERM)
    return try await end()
  }

  /// Waits for its end.
  /// - Returns: its exit status; nil when it goes on, or was killed.
  func end() async throws -> Int32? {
    for _ in 0..<200 where process.isRunning { try await Task.sleep(for: .milliseconds(50)) }
    look()
    guard !process.isRunning else { return nil }
    return process.terminationReason == .exit ? process.terminationStatus : nil
  }
}

/// A simulated qmail with ordinary mail, a real daemon on it, and a flood when it is asked for.
final class FaultyMachine {
  let watched: WatchedQmail
  let daemon: RealDaemon
  let driver: TrafficDriver
  private let driving: Task<Void, any Error>
  private let floods: [Traffic.Scenario: [SimulatedInjection]]
  /// The options that name its directories.
  let places: [String]
  private let setsAside: Bool

  /// Where each recipient of each message is.
  final class Books: Sendable {
    let account: Mutex<Account>
    init(_ layout: QueueLayout) { account = Mutex(Account(layout)) }
  }
  private let books: Books

  /// By how much the mail server's clock is set.
  let clock: ClockShift

  final class ClockShift: Sendable {
    private let shift = Mutex(Duration.zero)
    var value: Duration {
      get { shift.withLock { $0 } }
      set { shift.withLock { $0 = newValue } }
    }
  }

  /// The directory that has a disk of its own, small enough to be filled; it is mounted for the daemon alone.
  enum Disk: String {
    case state
    case control = "qmail/control"
    case queue = "qmail/queue"
  }
  private let disk: Disk?
  /// qmail's home, with that disk in it.
  let home: String

  /// - Parameters:
  ///   - view: where the daemon has qmail's home, as `preparation` mounts it in its namespace.
  ///   - isFull: no byte is free on the disk when the daemon starts.
  init(
    time: SimulatedQmail.Time = .real, faults: [String] = [],
    setsAside: Bool = true, view: String = "qmail",
    inNamespace preparation: ((WatchedQmail) -> String)? = nil, disk: Disk? = nil,
    isFull: Bool = false
  ) throws {
    self.setsAside = setsAside
    self.disk = disk
    let watched = WatchedQmail()
    self.watched = watched
    let clock = ClockShift()
    self.clock = clock
    var qmail = try SimulatedQmail.create(at: watched.qmail, time: time)
    try qmail.installQueueProgram(executable: #require(Shim.shared).program)
    try Replacement.write(
      Array("admin@spam.test\n".utf8), to: "\(watched.qmail)/control/badmailfrom", mode: 0o644)
    try Folder.make(watched.state)
    let path = "\(watched.path)/policy.yaml"
    let text = """
      mode: enforce
      polling: {normal: 1s, storm: 1s, full-pass: 1s}
      log: {source: none}
      blocking: {dialect: stock}
      quarantine: {enabled: \(setsAside), minimum-free-space: 0%, minimum-free-inodes: 0%}

      """
    try Replacement.write(Array(text.utf8), to: path, mode: 0o644)
    let ordinary = Traffic(.ordinary, messages: 240, perSecond: 4, seed: 3)
    // They never come by themselves: only how their recipients answer is taken from them.
    var traffic = ordinary
    var floods: [Traffic.Scenario: [SimulatedInjection]] = [:]
    for (number, scenario) in [Traffic.Scenario.hijackedAccount, .webScript].enumerated() {
      let flood = Traffic(
        scenario, messages: 900, perSecond: 60, start: .seconds(100_000_000 * (number + 1)),
        seed: 4)
      floods[scenario] = flood.arrivals.map(\.injection)
      traffic = traffic + flood
    }
    self.floods = floods
    let now: @Sendable () -> Timestamp = { WallClock.now() + clock.value }
    places = [
      "--qmail", "\(watched.path)/\(view)", "--state", watched.state, "--policy", path,
    ]
    let mounting = disk.map { Self.mounting($0, isFull: isFull, in: watched.path) }
    daemon = try RealDaemon(
      places, in: watched.path, faults: faults, preparation: preparation?(watched) ?? mounting)
    if disk == nil {
      home = watched.qmail
    } else {
      for _ in 0..<1000 where access("\(watched.path)/mounted", F_OK) != 0 { usleep(10_000) }
      home = daemon.path(watched.qmail)
      qmail = try SimulatedQmail(at: home, time: time)
    }
    let books = Books(try .read(qmail: home))
    self.books = books
    qmail.onTaken = { injection, outcome in
      books.account.withLock { $0.note(injection, outcome) }
    }
    qmail.onLog = { _, line in books.account.withLock { $0.note(SendLogLine(line)) } }
    // Before any fault begins, whenever the driver gets its first turn.
    try qmail.start(at: now())
    driver = TrafficDriver(qmail, traffic: traffic, clock: now, isPrompt: true)
    driving = Task { [driver] in try await driver.run() }
  }

  /// A new directory, for another daemon's output.
  func folder(_ name: String) throws -> String {
    try Folder.make("\(watched.path)/\(name)")
    return "\(watched.path)/\(name)"
  }

  private static func mounting(_ disk: Disk, isFull: Bool, in path: String) -> String {
    let (place, fresh) = ("\(path)/\(disk.rawValue)", "\(path)/fresh")
    let steps = [
      "mkdir \(fresh)", "mount -t tmpfs -o size=16m,nr_inodes=2000 none \(fresh)",
      "cp -a \(place)/. \(fresh)/", "mount --move \(fresh) \(place)",
      isFull ? "mkdir \(place)/filler && ! cp /dev/zero \(place)/filler/zeros" : "true",
      "touch \(path)/mounted",
    ]
    return steps.joined(separator: " && ")
  }

  enum Room: String, CaseIterable {
    case bytes, inodes
  }

  private var filler: String { daemon.path("\(watched.path)/\(disk?.rawValue ?? "")/filler") }

  /// Leaves none of it on the disk.
  func fill(_ room: Room) throws {
    try Folder.make(filler)
    let folder = try Descriptor.open(filler, .directory)
    var count: Int64 = 0
    switch room {
    case .bytes:
      let zeros = try folder.open("zeros", [.write, .create])
      count = try zeros.status().size / 4096
      let page = [UInt8](repeating: 0, count: 4096)
      while (try? zeros.write(page, at: count * 4096)) != nil { count += 1 }
    case .inodes:
      while (try? folder.open("\(count)", [.write, .create])) != nil { count += 1 }
    }
    try #require(count > 0)
  }

  func makeRoom() throws { try FileManager.default.removeItem(atPath: filler) }

  var badmailfrom: String {
    let bytes = try? Descriptor.open("\(home)/control/badmailfrom").readAll(limit: 1 << 20)
    return String(decoding: bytes ?? [], as: UTF8.self)
  }

  /// What is half done; nil where the quarantine directory holds whole messages alone, as many as the daemon counts.
  var disorder: String? {
    let state = daemon.path(watched.state)
    guard setsAside else { return nil }
    do {
      let held = try QuarantineStore(path: "\(state)/quarantine", creating: false).contents()
      let report = try StatusReport.read(state: state)
      let isInOrder =
        held.partial.isEmpty && held.foreign.isEmpty && report?.quarantinePending == 0
        && report?.quarantined == held.messages.count
      return isInOrder
        ? nil
        : "\(held); \(report?.quarantined ?? -1) set aside, \(report?.quarantinePending ?? -1) to be"
    } catch { return "\(error)" }
  }

  /// What is wrong about where the recipients are, once mail has stopped: delivered once, failed once, to do in the queue or in quarantine.
  func reckoning() async throws -> [String] {
    driving.cancel()
    _ = try? await driving.value
    var complaints: [String] = []
    // The daemon may just be setting aside what it saw last; what is wrong indeed stays so.
    for round in 1...3 {
      guard try await daemon.wait(20, until: { disorder == nil }) else { return [disorder ?? ""] }
      // The daemon's disks are seen by it alone, and SQLite goes by the name.
      let copy = "\(watched.path)/copy\(round)"
      try inNamespace(["cp", "-a", watched.state, copy])
      complaints = books.account.withLock { account in
        let before = account.complaints
        defer { account.complaints = before }
        account.check(state: copy)
        return account.taken > 50 ? account.complaints : ["\(account.taken) messages came in"]
      }
      if complaints.isEmpty { break }
      try await Task.sleep(for: .seconds(2))
    }
    return complaints
  }

  /// A flood that goes on until the daemon has told of it, as one in the world would. With events lost, or on a busy machine, that takes more messages than
  /// the 90 that are sent in any case.
  func floodNow(_ scenario: Traffic.Scenario = .hijackedAccount, atMost most: Int = 900)
    async throws
  {
    let before = storms.count
    for first in stride(from: 0, to: most, by: 90) {
      try await send(first..<min(first + 90, most), of: scenario)
      daemon.look()
      if storms.count > before { return }
    }
  }

  /// Some messages of a flood, ten milliseconds apart.
  func send(_ numbers: Range<Int>, of scenario: Traffic.Scenario = .hijackedAccount) async throws {
    for injection in floods[scenario]?[numbers] ?? [] {
      await driver.offer(injection)
      try await Task.sleep(for: .milliseconds(10))
    }
  }

  /// The same, and qmail-send is killed after each thirty: for some messages' time none runs.
  func sendRestarting(_ numbers: Range<Int>) async throws {
    for first in stride(from: numbers.lowerBound, to: numbers.upperBound, by: 30) {
      try await send(first..<first + 20)
      await driver.killSend()
      try await send(first + 20..<first + 30)
      try await driver.startSend()
    }
  }

  /// The storms told of. A machine too busy for the simulated qmail is rightly told of as a stall: that is left out.
  var storms: [String] { daemon.said("storm-began").filter { !$0.contains(", stall:") } }

  var isAnswered: Bool {
    setsAside
      ? daemon.status.contains(" in quarantine") : badmailfrom.contains("\nalice@mx.test\n")
  }

  /// Runs a program in the daemon's mount namespace.
  func inNamespace(_ words: [String], status: Int32 = 0) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/nsenter")
    process.arguments = ["-t", "\(daemon.pid)", "-m"] + words
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    try #require(process.terminationStatus == status, "\(words)")
  }

  func end() async throws {
    driving.cancel()
    _ = try? await driving.value
  }
}
