import Files
import Foundation
import Mail
import Policy
import QmailSimulator
import Response
import Testing

@testable import Watchdog

/// What promtool checks of the text format, as far as we write it.
struct MetricsReader {
  struct Sample: Hashable {
    var name: String
    var labels: [String: String]
  }

  var types: [String: String] = [:]
  var samples: [Sample: Double] = [:]
  var complaints: [String] = []

  init(_ text: String) {
    if !text.hasSuffix("\n") { complaints.append("no line end at the end") }
    var current: String?
    var closed: Set<String> = []
    for line in text.split(separator: "\n", omittingEmptySubsequences: false).dropLast() {
      let words = line.split(separator: " ", maxSplits: 3).map(String.init)
      if line.hasPrefix("# HELP ") {
        let name = words.count > 3 ? words[2] : ""
        if !closed.insert(name).inserted { complaints.append("\(name) appears twice") }
        if words.count < 4 || words[3].isEmpty { complaints.append("no help: \(line)") }
        current = name
      } else if line.hasPrefix("# TYPE ") {
        guard words.count == 4, words[2] == current, types[words[2]] == nil else {
          complaints.append("TYPE out of place: \(line)")
          continue
        }
        if (words[3] == "counter") != words[2].hasSuffix("_total") {
          complaints.append("counters, and only these, end in _total: \(line)")
        }
        types[words[2]] = words[3]
      } else {
        take(String(line), current)
      }
    }
  }

  private mutating func take(_ line: String, _ current: String?) {
    let pattern = #/([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)/#
    guard let match = try? pattern.wholeMatch(in: line), let value = Double(match.3) else {
      complaints.append("no sample: \(line)")
      return
    }
    let name = String(match.1)
    if name != current || types[name] == nil { complaints.append("sample out of place: \(line)") }
    if !name.hasPrefix("qwarden_") { complaints.append("a name of others: \(line)") }
    var labels: [String: String] = [:]
    for pair in (match.2 ?? "").matches(of: #/([a-z]+)="((?:[^"\\]|\\.)*)"/#) {
      labels[String(pair.1)] = String(pair.2)
    }
    if samples.updateValue(value, forKey: Sample(name: name, labels: labels)) != nil {
      complaints.append("the same sample twice: \(line)")
    }
    if types[name] == "counter", value < 0 || value != value.rounded() {
      complaints.append("a counter that does not count: \(line)")
    }
  }

  subscript(_ name: String, _ labels: [String: String] = [:]) -> Double? {
    samples[Sample(name: "qwarden_\(name)", labels: labels)]
  }
}

@Suite struct MetricsTests {
  @Test("the reader complains of what promtool would complain of")
  func reader() {
    for wrong in [
      "qwarden_x 1\n", "# HELP qwarden_x h\n# TYPE qwarden_x counter\nqwarden_x 1\n",
      "# HELP qwarden_x h\n# TYPE qwarden_x gauge\nqwarden_x{a=\"b} 1\n",
      "# HELP qwarden_x h\n# TYPE qwarden_x gauge\nqwarden_x 1\nqwarden_x 2\n",
      "# HELP qwarden_x h\n# TYPE qwarden_x gauge\nqwarden_x 1",
    ] {
      #expect(!MetricsReader(wrong).complaints.isEmpty, "\(wrong)")
    }
  }

  @Test(
    "the daemon writes valid metrics during a storm, with no address in them, and takes them away at its end"
  )
  func written() async throws {
    let watched = WatchedQmail()
    let qmail = try SimulatedQmail.create(at: watched.qmail)
    let driver = TrafficDriver(
      qmail,
      traffic: Traffic(.hijackedAccount, messages: 400, perSecond: 60, seed: 4),
      clock: WallClock.now)
    let path = "\(watched.path)/qwarden.prom"
    var policy = Policy.brisk
    policy.metrics.file = path
    try await watched.whilePlaying(driver) {
      let watchdog = try watched.watchdog(policy)
      watchdog.start {}
      let isTold = await watched.wait(40) {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return false }
        let read = MetricsReader(text)
        return read["storms_total", ["kind": "relay-sender"]] == 1
          && ["block", "quarantine"].allSatisfy {
            (read["actions_total", ["action": $0, "outcome": "done"]] ?? 0) > 0
          }
      }
      #expect(isTold)
      let text = try String(contentsOfFile: path, encoding: .utf8)
      let read = MetricsReader(text)
      #expect(read.complaints == [])
      #expect(read["info", ["version": "test", "mode": "enforce"]] == 1)
      #expect(read["queue_readable"] == 1)
      #expect(read["storms", ["kind": "relay-sender"]] == 1)
      #expect(read["actions_total", ["action": "block", "outcome": "done"]] == 1)
      #expect((read["arrivals_total"] ?? 0) >= 30)
      #expect((read["deliveries_total", ["outcome": "failure"]] ?? 0) > 0)
      #expect(!text.contains("@") && !text.contains("alice") && !text.contains("198.18."))
      #expect(try FileStatus.of(path).permissions == 0o644)
      await watchdog.stop()
    }
    #expect(!FileManager.default.fileExists(atPath: path))
  }

  @Test("a block or a quarantine that failed is counted beside those that were done")
  func failures() {
    var metrics = Metrics()
    for action in ["write", "block", "set aside"] {
      metrics.count(.failed(Outcome.Failure(action, "x", why: "disk full", exitCode: 74)))
    }
    let status = StatusReport(
      version: "test", pid: 1, started: 0, written: 0, mode: "enforce", qmail: "/q", troubles: [],
      notes: [], queue: .init(), lastLook: .init(), storms: [], activeBlocks: 0, quarantined: 0,
      quarantinePending: 0)
    let read = MetricsReader(metrics.text(status, FlowMeter(since: Timestamp(seconds: 0))))
    for (action, count) in [("block", 2.0), ("quarantine", 1.0)] {
      #expect(read["actions_total", ["action": action, "outcome": "failed"]] == count)
    }
  }

  @Test("what is no regular file is not written over as metrics, nor taken away at the end")
  func onlyRegularFiles() async throws {
    let watched = WatchedQmail()
    _ = try SimulatedQmail.create(at: watched.qmail)
    let path = "\(watched.path)/fifo.prom"
    try #require(mkfifo(path, 0o600) == 0)
    let before = try FileStatus.of(path)
    var policy = Policy.brisk
    policy.metrics.file = path
    let watchdog = try watched.watchdog(policy)
    watchdog.start {}
    let isTold = await watched.wait(20) {
      let report = try? StatusReport.read(state: watched.state)
      return report?.trouble("metrics") != nil
    }
    #expect(isTold)
    await watchdog.stop()
    #expect(try FileStatus.of(path).isSameFile(as: before))
  }
}
