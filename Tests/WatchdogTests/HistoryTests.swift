import Files
import Fixtures
import Foundation
import Ledger
import Mail
import Policy
import QmailSimulator
import Replay
import Response
import Storms
import Synchronization
import Systemd
import Testing

@testable import Watchdog

@Suite("The history and recording") struct HistoryTests {
  private let folder = TemporaryFolder()
  private var state: String { folder.path }
  private let begin = Timestamp(seconds: 1_795_458_000)
  private let header: TraceReader.Header = {
    var header = TraceReader.Header()
    header.host = "mx.test"
    header.localDomains = [Domain("mx.test")]
    return header
  }()

  private func arrival(_ number: Int, at time: Timestamp) -> Observation {
    Observation(
      time: time,
      event: .arrival(
        Entry(
          identity: EntryIdentity(id: UInt64(number), birth: time),
          sender: Address("user\(number &* 2_654_435_761)@mx.test"),
          remote: [Recipient(address: Address("r\(number &* 40_503)@far.example"))])))
  }

  private func read(_ paths: [String]) throws -> [UInt64] {
    let series = TraceSeries(paths, isHistory: true)
    var ids: [UInt64] = []
    #expect(try series.header() == nil || series.host == "mx.test")
    while let observation = try series.next({ #expect($0.localDomains == header.localDomains) }) {
      if case .arrival(let entry) = observation.event { ids.append(entry.identity.id) }
    }
    #expect(series.damage.isEmpty)
    return ids
  }

  @Test("an hour is a trace of its own, and all of them are read as one")
  func hours() throws {
    var history = TrafficHistory(Policy.History(), state: state, header: header, at: begin)
    for minute in 0..<150 {
      let now = begin + .seconds(60 * minute)
      history.add(arrival(minute, at: now))
      history.add(Observation(time: now, event: .log(.status(text: "local 0/10 remote 0/20"))))
      history.tend(at: now)
      #expect(history.trouble == nil)
    }
    history.end()
    let folder = HistoryFolder(state: state)
    let names = try folder.segments().map(\.name)
    #expect(names.count == 3 && names[0] == "20261123T182000Z.jsonl.gz", "\(names)")
    #expect(try read(folder.paths(since: begin)) == (0..<150).map { UInt64($0) })
    // What goes on says nothing of what is over.
    #expect(try folder.paths(since: WallClock.now() + .seconds(60)).isEmpty)
  }

  @Test("a kill loses what was not flushed, and nothing of the next run")
  func killed() throws {
    var history = TrafficHistory(Policy.History(), state: state, header: header, at: begin)
    for number in 0..<100 { history.add(arrival(number, at: begin)) }
    history.tend(at: begin + .seconds(3))
    // As a kill leaves it.
    let folder = HistoryFolder(state: state)
    let name = try #require(try folder.segments().first?.name)
    let torn = try Descriptor.open("\(folder.path)/\(name)").readAll(limit: 1 << 20)
    history.end()
    try Replacement.write(torn, to: "\(folder.path)/\(name)", mode: 0o600)
    // So is the hour that is being written, of a new installation the only one.
    #expect(try read(folder.paths(since: begin)) == (0..<100).map { UInt64($0) })
    var next = TrafficHistory(Policy.History(), state: state, header: header, at: begin)
    next.add(arrival(100, at: begin))
    next.end()
    #expect(try folder.segments().count == 2)
    #expect(try read(folder.paths(since: begin)) == (0...100).map { UInt64($0) })
  }

  @Test("its size stays within the bound, the oldest goes first")
  func bounded() throws {
    var policy = Policy.History()
    policy.size = 100_000
    var history = TrafficHistory(policy, state: state, header: header, at: begin)
    let folder = HistoryFolder(state: state)
    var most: Int64 = 0
    for number in 0..<20_000 {
      let now = begin + .milliseconds(Int64(number) * 100)
      history.add(arrival(number, at: now))
      guard number % 50 == 0 else { continue }
      history.tend(at: now)
      #expect(history.trouble == nil)
      most = max(most, try folder.segments().reduce(0) { $0 + $1.size })
    }
    history.end()
    #expect(most > 60_000 && most < 115_000)
    let left = try read(folder.paths(since: begin))
    #expect(left.last == 19_999)
    #expect(left.count > 500 && left.count < 20_000)
    #expect(left == Array(left[0]...19_999))
  }

  @Test("what is older than it is to be kept goes at the next hour")
  func aged() throws {
    let now = WallClock.now()
    var history = TrafficHistory(
      Policy.History(), state: state, header: header, at: now - .seconds(20 * 86_400))
    history.add(arrival(1, at: now))
    history.end()
    let folder = HistoryFolder(state: state)
    let old = try #require(try folder.segments().first)
    var times = [timeval(tv_sec: time(nil) - 15 * 86_400, tv_usec: 0), timeval()]
    times[1] = times[0]
    #expect(utimes("\(folder.path)/\(old.name)", times) == 0)
    var later = TrafficHistory(Policy.History(), state: state, header: header, at: now)
    later.add(arrival(2, at: now))
    later.tend(at: now + .seconds(3))
    #expect(try folder.segments().map(\.name).contains(old.name) == false)
    later.end()
    #expect(try read(folder.paths(since: begin)) == [2])
  }

  @Test(
    "on a disk that is full nothing is kept, the trouble stands as long, and it goes on when there is room"
  )
  func fullDisk() throws {
    // A file where the directory should be: every attempt fails.
    try Replacement.write([], to: "\(state)/history", mode: 0o600)
    var history = TrafficHistory(Policy.History(), state: state, header: header, at: begin)
    for second in 0..<300 {
      let now = begin + .seconds(second)
      history.add(arrival(second, at: now))
      history.tend(at: now)
      #expect(history.trouble?.hasPrefix("\(state)/history") == true)
    }
    unlink("\(state)/history")
    for second in 300..<400 {
      let now = begin + .seconds(second)
      history.add(arrival(second, at: now))
      history.tend(at: now)
    }
    #expect(history.trouble == nil)
    history.end()
    #expect(try read(HistoryFolder(state: state).paths(since: begin)).last == 399)
  }

  @Test("size 0 keeps nothing")
  func none() throws {
    var policy = Policy.History()
    policy.size = 0
    var history = TrafficHistory(policy, state: state, header: header, at: begin)
    history.add(arrival(1, at: begin))
    history.tend(at: begin + .seconds(3))
    #expect((try? FileStatus.of("\(state)/history")) == nil)
  }

  @Test("a recorder takes in a large queue bit by bit, and ends when it is told to")
  func recordedInPieces() throws {
    let watched = WatchedQmail()
    let qmail = try SimulatedQmail.create(at: watched.qmail)
    for number in 0..<2100 {
      try qmail.inject(
        SimulatedInjection(
          sender: Address("alice@mx.test"), recipients: [Address("a@d\(number).example")],
          source: .uid(33), message: Array("Subject: hello\n\nhello\n".utf8)), at: WallClock.now())
    }
    func recorder(_ name: String) throws -> Recorder {
      try Recorder(qmail: watched.qmail, policy: .unlogged, output: "\(watched.path)/\(name)")
    }
    let brief = try recorder("brief.jsonl")
    try brief.run { true }
    #expect(brief.arrivals <= 2 * Watchdog.atOnce)
    let whole = try recorder("whole.jsonl")
    try whole.run { whole.arrivals == 2100 }
    #expect(whole.arrivals == 2100)
  }

  @Test("a recorded trace and the history replay to the storm that the daemon saw")
  func recorded() async throws {
    let watched = WatchedQmail()
    let qmail = try SimulatedQmail.create(at: watched.qmail)
    let driver = TrafficDriver(
      qmail,
      traffic: Traffic(.ordinary, messages: 30, perSecond: 6, seed: 3)
        + Traffic(.hijackedAccount, messages: 2000, perSecond: 60, start: .seconds(1), seed: 4),
      clock: WallClock.now)
    var policy = Policy.unlogged
    policy.polling.normal = .milliseconds(200)
    policy.polling.storm = .milliseconds(100)
    let output = "\(watched.path)/trace.jsonl.gz"
    try await watched.whilePlaying(driver) {
      let isEnough = Mutex(false)
      let (home, recorded) = (watched.qmail, policy)
      let recording = Thread {
        do {
          let recorder = try Recorder(qmail: home, policy: recorded, output: output)
          try recorder.run { isEnough.withLock { $0 } }
        } catch { Issue.record(error) }
        isEnough.withLock { $0 = false }
      }
      recording.start()
      let watchdog = try watched.watchdog(policy)
      watchdog.start {}
      #expect(await watched.wait(60) { !watched.witness.events(.quarantineHeld).isEmpty })
      let lines = try Daemon(state: watched.state).lines(.explain("alice@mx.test", asJSON: false))
      let told = lines.map { String(decoding: $0, as: UTF8.self) }.joined(separator: "\n")
      #expect(told.hasPrefix("sender alice@mx.test, as of "))
      #expect(told.contains("relay-sender: One sender floods other hosts"), "\(told)")
      #expect(told.contains("held by observe-mode"))
      // The recorder looks for itself, and may be behind the daemon.
      try await Task.sleep(for: .seconds(3))
      isEnough.withLock { $0 = true }
      #expect(await watched.wait(40) { isEnough.withLock { !$0 } })
      await watchdog.stop()
    }
    let seen = try watched.ledger().incidents(limit: 10).filter { $0.kind == .relaySender }
    try #require(seen.count == 1)
    for paths in [[output], try HistoryFolder(state: watched.state).paths(since: begin)] {
      try #require(!paths.isEmpty)
      let series = TraceSeries(paths)
      let header = try #require(try series.header())
      #expect(header.localDomains.contains(Domain("mx.test")))
      var replay = Replay(policy: policy, header: header)
      // By incident, as it was told last: what began as a surge may have turned out to be a flood.
      var told: [Int: Storm] = [:]
      var chosen = 0
      while let observation = try series.next({ _ in }) {
        for event in replay.observe(observation) {
          switch event.what {
          case .began(let storm), .changed(let storm): told[storm.incident] = storm
          case .ended, .action: break
          }
          if case .action(let action) = event.what, action.action.name == "quarantine" {
            chosen += 1
          }
        }
      }
      // On a machine too busy for the simulated qmail there may be a stall too.
      let floods = told.values.filter { $0.kind != .stall }
      #expect(floods.map(\.kind) == [.relaySender])
      #expect(floods.first?.offenders == seen[0].offenders)
      #expect(chosen > 0)
    }
  }
}
