import Files
import Foundation
import Glibc
import Mail

/// `qwarden run`, as systemd would have it: started, listened to, asked for its end, killed.
final class WatchedProgram {
  private let program: String
  private let arguments: [String]
  private let folder: String
  private let clock: SkippingClock
  private let notifications: Descriptor
  private var process: Process?
  private var output: Int64 = 0
  private var rest: [UInt8] = []
  private var isReady = false
  /// Went off and was not set again: nothing follows from it any more.
  private var staleTimer: Double?

  /// WatchdogSec= of the unit.
  static let watchdog = 60.0
  private(set) var starts = 0
  /// Longest time between two pings, in seconds.
  private(set) var longestSilence = 0.0
  private var lastPing: Double?
  private(set) var pings = 0
  /// All that was found wrong, to be taken.
  var complaints: [String] = []

  init(_ program: String, _ arguments: [String], folder: String, clock: SkippingClock) throws {
    self.program = program
    self.arguments = arguments
    self.folder = folder
    self.clock = clock
    notifications = try UnixSocket.receiver(at: "\(folder)/notify")
  }

  deinit { process?.terminate() }

  var pid: pid_t { process?.processIdentifier ?? 0 }
  var isRunning: Bool { process?.isRunning == true }

  private func make(_ words: [String], runsOn: Bool, _ name: String) throws -> Process {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = words
    var environment = clock.environment(runsOn: runsOn)
    environment["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    if runsOn {
      environment["NOTIFY_SOCKET"] = "\(folder)/notify"
      environment["WATCHDOG_USEC"] = String(Int(Self.watchdog * 1e6))
    }
    process.environment = environment
    process.standardInput = FileHandle.nullDevice
    func file(_ name: String) throws -> FileHandle {
      let path = "\(folder)/\(name)"
      if !FileManager.default.fileExists(atPath: path) {
        _ = FileManager.default.createFile(atPath: path, contents: nil)
      }
      let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
      try handle.seekToEnd()
      return handle
    }
    process.standardOutput = try file("\(name).out")
    process.standardError = try file("\(name).err")
    return process
  }

  func start() throws {
    let process = try make(["run", "--json"] + arguments, runsOn: true, "daemon")
    isReady = false
    lastPing = nil
    starts += 1
    try process.run()
    self.process = process
    let deadline = WallClock.monotonic() + 120_000_000_000
    while !isReady, process.isRunning, WallClock.monotonic() < deadline {
      usleep(1000)
      listen()
    }
    if !isReady { complaints.append("the daemon did not come up: \(errors)") }
  }

  /// Ends it in good order, or kills it.
  func end(_ signal: Int32) {
    guard let process else { return }
    let begun = WallClock.monotonic()
    kill(process.processIdentifier, signal)
    while process.isRunning, WallClock.monotonic() - begun < 30_000_000_000 { usleep(500) }
    let seconds = Double(WallClock.monotonic() - begun) / 1e9
    if process.isRunning {
      complaints.append("it did not end in 30 s")
      kill(process.processIdentifier, SIGKILL)
    } else if signal == SIGTERM, process.terminationStatus != 0 || seconds > 5 {
      complaints.append("SIGTERM: status \(process.terminationStatus) after \(seconds) s")
    }
    process.waitUntilExit()
    listen()
    self.process = nil
    clock.forgetTimers()
  }

  func signal(_ number: Int32) { kill(pid, number) }

  /// Runs a command to its end; returns its exit status.
  @discardableResult
  func command(_ words: [String]) throws -> Int32 {
    let process = try make(words + arguments, runsOn: false, "command")
    try process.run()
    process.waitUntilExit()
    return process.terminationStatus
  }

  var errors: String {
    let bytes = (try? Descriptor.open("\(folder)/daemon.err").readAll(limit: 1 << 20)) ?? []
    return Text.decode(bytes.suffix(2000))
  }

  /// Takes what came by the notification socket.
  func listen() {
    var buffer = [UInt8](repeating: 0, count: 8192)
    while true {
      let count = recv(notifications.number, &buffer, buffer.count, 0)
      guard count > 0 else { return }
      for line in buffer[..<count].split(separator: 10) {
        switch Text.decode(line) {
        case "READY=1":
          isReady = true
          lastPing = clock.elapsed
        case "WATCHDOG=1":
          pings += 1
          let now = clock.elapsed
          if let lastPing {
            longestSilence = max(longestSilence, now - lastPing)
            if now - lastPing > Self.watchdog {
              complaints.append(
                "no WATCHDOG ping for \(Int(now - lastPing)) s until \(clock.now.iso8601), \(now)")
            }
          }
          if isReady { lastPing = now }
        default: break
        }
      }
    }
  }

  /// Events that it has printed since the last call.
  func events() -> [JSONValue] {
    guard let file = try? Descriptor.open("\(folder)/daemon.out") else { return [] }
    while let piece = try? file.read(limit: 1 << 16, from: output), !piece.isEmpty {
      output += Int64(piece.count)
      rest += piece
    }
    guard let end = rest.lastIndex(of: 10) else { return [] }
    let lines = rest[...end].split(separator: 10)
    rest.removeSubrange(...end)
    return lines.compactMap { line in
      if let event = try? JSONValue(line) { return event }
      complaints.append("no event: \(Escaping.terminal(line.prefix(200)))")
      return nil
    }
  }

  // MARK: How it stands

  /// Waits until every thread of it sleeps and none has run between two looks: then it has done what it has been told of so far.
  /// - Parameter moment: it is not waited for beyond, in seconds since the soak began: what it waits for may have its end then.
  func settle(until moment: Double = .infinity) {
    let deadline = WallClock.monotonic() + 60_000_000_000
    // A timer that is due goes off at once, but the machine may stand still just then.
    let patience = WallClock.monotonic() + 100_000_000
    var last: [UInt8]?
    while isRunning, clock.elapsed < moment {
      let isDue = nextTimer.map { $0 <= clock.elapsed } ?? false
      if isDue, WallClock.monotonic() > patience { staleTimer = clock.nextTimer }
      let isBusy = clock.isWaiting || isDue
      let turns = isBusy ? nil : turnsWhileAsleep
      if let turns, turns == last { break }
      last = turns
      usleep(60)
      if WallClock.monotonic() > deadline {
        complaints.append("it was busy for a minute on end")
        return
      }
    }
    listen()
  }

  /// When its next timer is due, in seconds since the soak began.
  var nextTimer: Double? { clock.nextTimer.flatMap { $0 == staleTimer ? nil : $0 } }

  /// How often each thread has run; nil while one does.
  private var turnsWhileAsleep: [UInt8]? {
    guard let tasks = try? Descriptor.open("/proc/\(pid)/task", .directory),
      let names = try? tasks.names()
    else { return nil }
    var turns: [UInt8] = []
    for name in names {
      guard let folder = try? tasks.open(name, .directory),
        let text = try? folder.open("stat").read(limit: 512, from: 0),
        let end = text.lastIndex(of: UInt8(ascii: ")")),
        text.dropFirst(end + 2).first == UInt8(ascii: "S"),
        let run = try? folder.open("schedstat").read(limit: 128, from: 0)
      else { return nil }
      turns += run
    }
    return turns
  }

  /// In KiB: what it has allocated and touched. The pages of its program and libraries in memory come and go as the kernel likes.
  var ownMemory: Int {
    let text = Text.decode((try? Descriptor.open("/proc/\(pid)/status").readAll(limit: 8192)) ?? [])
    let line = text.split(separator: "\n").first { $0.hasPrefix("RssAnon:") } ?? ""
    return line.split(whereSeparator: { !$0.isNumber }).first.flatMap { Int($0) } ?? 0
  }

  var descriptors: Int { (try? Descriptor.open("/proc/\(pid)/fd", .directory).names().count) ?? 0 }
}
