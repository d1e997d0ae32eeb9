import Files
import Foundation
import Glibc
import Mail
import Policy
import QmailQueue
import QmailSimulator
import Response
import Systemd
import Testing

@testable import Watchdog

@Suite("The log beside the queue") struct LogTests {
  private let start = Timestamp(seconds: 1000)

  private func arrival(_ id: UInt64, _ pid: Int?, at seconds: Double) -> Observation {
    let birth = Timestamp(seconds: seconds)
    return Observation(
      time: birth + .seconds(1),
      event: .arrival(Entry(identity: EntryIdentity(id: id, birth: birth), queuedBy: pid)))
  }

  private func info(_ id: UInt64, _ pid: Int, at seconds: Double) -> Observation {
    Observation(
      time: Timestamp(seconds: seconds),
      event: .log(.info(id: id, bytes: 1, sender: .null, pid: pid, uid: 1)))
  }

  @Test(
    "a delivery that ended for good is told with the process that queued its message, as far as that was read"
  )
  func lateDeliveries() {
    var late = LateDeliveries()
    let told = [
      "info msg 7: bytes 1 from <> qp 70 uid 1", "starting delivery 1: msg 7 to remote a@b.test",
      "starting delivery 2: msg 7 to local c@d.test", "delivery 2: deferral: later/",
      "delivery 1: success: ok/", "starting delivery 3: msg 8 to local e@f.test",
      "delivery 3: failure: no/", "delivery 9: success: of whom?/", "end msg 7",
    ].compactMap { late.take(SendLogLine($0)) }
    #expect(
      told == [
        FinishedDelivery(id: 7, queuedBy: 70, channel: .remote, recipient: Address("a@b.test")),
        FinishedDelivery(id: 8, queuedBy: nil, channel: .local, recipient: Address("e@f.test")),
      ])
  }

  @Test("a message is counted once, by whom it was seen, whoever saw it first")
  func coverage() {
    var coverage = Coverage(since: start)
    for observation in [
      arrival(1, 11, at: 999), arrival(2, 12, at: 1001), info(2, 12, at: 1001.1),
      info(3, 13, at: 1002), arrival(3, 13, at: 1001.9),
      // The same number twice: other messages.
      arrival(4, 14, at: 1003), arrival(4, 15, at: 1003.01), info(4, 15, at: 1003.02),
      info(4, 16, at: 1003.03),
      // A damaged message names no process.
      arrival(5, nil, at: 1004), info(5, 17, at: 1004.1), arrival(6, nil, at: 1005),
      info(6, 18, at: 1015),
    ] { coverage.take(observation) }
    #expect(coverage.both == 4 && coverage.queueOnly == 0 && coverage.logOnly == 0)
    coverage.settle(at: Timestamp(seconds: 1200))
    coverage.settle(at: Timestamp(seconds: 1300))
    #expect(coverage.both == 4 && coverage.queueOnly == 2 && coverage.logOnly == 2)
  }

  @Test("what waits for a partner is bounded")
  func coverageBound() {
    var coverage = Coverage(since: start)
    for number in 0..<(Coverage.capacity + 1000) {
      coverage.take(info(UInt64(number), 1, at: 1001))
    }
    #expect(coverage.logOnly == 1000)
  }

  @Test("lines about a number's earlier message come before its next arrival")
  func chronicle() {
    func gone(_ id: UInt64) -> Observation {
      Observation(time: Timestamp(seconds: 2000), event: .departure(id: id))
    }
    func end(_ id: UInt64, at seconds: Double) -> Observation {
      Observation(time: Timestamp(seconds: seconds), event: .log(.end(id: id)))
    }
    let queue = [
      arrival(1, 1, at: 1001), gone(1), arrival(1, 2, at: 1002), gone(1), arrival(9, 3, at: 500),
      gone(7),
    ]
    let log = [
      info(1, 1, at: 1001.1), end(1, at: 1001.2), info(1, 2, at: 1002.1), end(1, at: 1002.2),
    ]
    #expect(
      Chronicle.merge(queue: Array(queue.prefix(4)), log: log)
        == [queue[0], log[0], log[1], queue[1], queue[2], log[2], log[3], queue[3]])
    // An old message found late was there before all of it.
    #expect(Chronicle.merge(queue: queue, log: log) == queue.prefix(5) + log + [queue[5]])
    #expect(Chronicle.merge(queue: [], log: log) == log)
    #expect(Chronicle.merge(queue: queue, log: []) == queue)
  }

  @Test(
    "of the usual places the one written to last is taken, and of equals the one followed before")
  func usual() throws {
    let watched = WatchedQmail()
    func write(_ name: String, _ seconds: Int) throws -> String {
      let path = "\(watched.path)/\(name)"
      try Replacement.write(
        Array("\(seconds).500000 end msg 1\n".utf8), to: path, mode: 0o600, durable: false)
      return path
    }
    // Newer than any journal of this machine.
    let (a, b) = (try write("a", 4_000_000_000), try write("b", 4_000_000_030))
    // A stamp of the future counts as the file's own time.
    let files = ["/nowhere", a, b]
    func found(_ before: String?, since: Timestamp = Timestamp(seconds: 0)) -> UsualLog.Place? {
      UsualLog.find(tag: "qwarden-test-\(getpid())", preferring: before, since: since, among: files)
    }
    #expect(found(nil) == .file(a))
    #expect(found(b) == .file(b))
    #expect(found(nil, since: Timestamp(seconds: 4_000_000_000)) == nil)
  }

  /// A simulated qmail with its log in a file, and a watchdog that follows it.
  private func watch<T>(
    _ watched: WatchedQmail, messages: Int,
    _ body: (_ watchdog: Watchdog, _ written: () throws -> [String]) async throws -> T
  ) async throws -> T {
    let path = "\(watched.path)/send.log"
    let qmail = try SimulatedQmail.create(at: watched.qmail)
    qmail.onLog = { time, line in
      let file = try? Descriptor.open(path, [.write, .create, .append])
      let end = (try? file?.status().size) ?? 0
      let micro = String(1_000_000 + time.nanoseconds % 1_000_000_000 / 1000).dropFirst()
      try? file?.write("\(time.nanoseconds / 1_000_000_000).\(micro) \(line)\n".utf8, at: end)
    }
    let traffic = Traffic(
      .acceptThenBounce, messages: messages, perSecond: 100, start: .seconds(1), seed: 5)
    let driver = TrafficDriver(qmail, traffic: traffic, clock: WallClock.now)
    return try await watched.whilePlaying(driver) {
      _ = await watched.wait(40) { access(path, F_OK) == 0 }
      var policy = Policy.brisk
      policy.mode = .observe
      policy.log.source = .path(path)
      let watchdog = try watched.watchdog(policy)
      watchdog.start {}
      return try await body(watchdog) {
        String(decoding: try Descriptor.open(path).readAll(limit: 8 << 20), as: UTF8.self)
          .split(separator: "\n").map(String.init)
      }
    }
  }

  @Test("every message of a storm is seen by queue and by log, and the status says so")
  func watched() async throws {
    let watched = WatchedQmail()
    try await watch(watched, messages: 100) { watchdog, written in
      #expect(
        await watched.wait(40) {
          (await watchdog.status().log?.seenByBoth ?? 0) >= 200
        })
      let log = try #require(await watchdog.status().log)
      // Those that came before the watchdog stood ready are not counted; the log has one line a message.
      let all = try written().count { $0.contains(" info msg ") }
      #expect(log.seenByBoth <= all)
      #expect(log.seenByQueueOnly == 0 && log.seenByLogOnly == 0)
      #expect(log.lines > 1000)
      #expect(log.gaps == 0 && log.behind == 0)
      #expect(watched.witness.events(.stormBegan).first?.message.contains("bounce-out") == true)
      await watchdog.stop()
    }
    #expect(LogPosition.read("\(watched.state)/log-position") != nil)
  }

  @Test(
    "a daemon that is told to end while it catches up with a long log ends, and the next one goes on there"
  )
  func endWhileCatchingUp() async throws {
    let watched = WatchedQmail()
    _ = try SimulatedQmail.create(at: watched.qmail)
    try Folder.make(watched.state)
    let (log, path) = ("\(watched.path)/send.log", "\(watched.path)/policy.yaml")
    try Replacement.write(Array("log: {source: \(log)}\n".utf8), to: path, mode: 0o644)
    let now = WallClock.now()
    let line = Array("\(now.seconds.rounded()) status: local 0/10 remote 0/20\n".utf8)
    try Replacement.write(line, to: log, mode: 0o644)
    var policy = Policy.Log()
    policy.source = .path(log)
    let earlier = LogSource(policy, state: watched.state, at: now)
    _ = earlier.read(at: now)
    try earlier.save(at: now, isLast: true)
    let text = Array(repeatElement(line, count: 1000).joined())
    let file = try Descriptor.open(log, .write)
    for part in 0..<1000 { try file.write(text, at: Int64(line.count + part * text.count)) }
    let daemon = try RealDaemon(
      ["--qmail", watched.qmail, "--state", watched.state, "--policy", path], in: watched.path)
    #expect(try await daemon.wait(30) { daemon.status.hasPrefix("reading what qmail-send logged") })
    #expect(try await daemon.stop() == 0)
    let position = try #require(LogPosition.read("\(watched.state)/log-position"))
    guard case .file(let place) = position.mark else {
      Issue.record("no place in a file")
      return
    }
    #expect(place.offset > Int64(line.count) && place.offset < Int64(1000 * text.count))
  }

  @Test(
    "after a restart the log is read from where the last run stopped; a reload may name another")
  func restart() throws {
    let watched = WatchedQmail()
    try Folder.make(watched.state)
    let path = "\(watched.path)/send.log"
    func append(_ text: String) throws {
      let file = try Descriptor.open(path, [.write, .create])
      try file.write(text.utf8, at: try file.status().size)
    }
    try append("1795451000.5 end msg 1\n")
    var policy = Policy.Log()
    policy.source = .path(path)
    let now = Timestamp(seconds: 1_795_452_000)
    let first = LogSource(policy, state: watched.state, at: now)
    #expect(first.read(at: now).observations.isEmpty)
    try append("1795451999.5 end msg 2\n")
    #expect(first.read(at: now).observations.count == 1)
    try first.save(at: now, isLast: true)
    try append("1795452000.5 end msg 3\n")
    let second = LogSource(policy, state: watched.state, at: now + .seconds(5))
    #expect(
      second.read(at: now + .seconds(5)).observations.map(\.event) == [.log(.end(id: 3))])
    #expect(second.status(at: now + .seconds(5))?.lastLine == 1_795_452_000.5)
    // Another source does not take the first one's place.
    policy.source = .path("\(watched.path)/other.log")
    let other = LogSource(policy, state: watched.state, at: now)
    #expect(other.read(at: now).notes.count == 1)
    policy.source = .none
    let none = LogSource(policy, state: watched.state, at: now)
    #expect(none.descriptor == nil && none.status(at: now) == nil && !none.retry(at: now))
    #expect(none.read(at: now).observations.isEmpty)
  }

  @Test("what a release put back is no evidence in the log either")
  func releases() throws {
    let watched = WatchedQmail()
    var policy = Policy.Log()
    policy.source = .none
    let log = LogSource(policy, state: watched.path, at: start)
    log.noteRelease(Entry(identity: EntryIdentity(id: 5, birth: start), queuedBy: 77))
    func line(_ id: UInt64, _ pid: Int) -> SendLogLine {
      .info(id: id, bytes: 1, sender: .null, pid: pid, uid: 0)
    }
    #expect(!log.isRelease(line(5, 78)) && !log.isRelease(line(6, 77)))
    #expect(!log.isRelease(.end(id: 5)))
    #expect(log.isRelease(line(5, 77)))
    #expect(!log.isRelease(line(5, 77)))
  }
}
