import Foundation
import Mail
import Storms
import Testing

/// The truth beside a trace.
private struct Truth: Decodable {
  struct Storm: Decodable {
    struct Offender: Decodable, Hashable {
      var type: String
      var value: String
    }
    var kind: String
    var begins: Double
    var offenders: [Offender]
    var victims: [String]
  }
  var storms: [Storm]
  var innocents: [String]
}

@Suite("Recorded traces")
struct TraceTests {
  private struct Replay {
    var outcome = Outcome()
    var entries: [EntryIdentity: Entry] = [:]
    /// Births of the arrivals of whatever a storm of this trace is made of.
    var births: [Double] = []
  }

  private func replay(_ name: String, withLog: Bool) throws -> (Replay, Truth) {
    let url = try #require(Bundle.module.url(forResource: "Samples", withExtension: nil))
    let bytes = try gunzip(url.path + "/\(name).jsonl.gz")
    let truth = try JSONDecoder().decode(
      Truth.self, from: Data(contentsOf: url.appendingPathComponent("\(name).truth.json")))
    var reader = try TraceReader(bytes)
    var detector = StormDetector(
      settings: DetectorSettings(), localDomains: reader.header.localDomains)
    var replay = Replay()
    while let observation = try reader.next() {
      if case .log = observation.event, !withLog { continue }
      if case .arrival(let entry) = observation.event { replay.entries[entry.identity] = entry }
      replay.outcome.add(detector.observe(observation), at: observation.time)
    }
    return (replay, truth)
  }

  private func clients(of source: Source) -> [String] {
    switch source {
    case .network(let client, _, let user): [client] + (user.map { [$0] } ?? [])
    default: []
    }
  }

  @Test(
    "a storm begins early, with its kind and offenders, and takes no innocents with it",
    arguments: ["relay_user", "backscatter_postmaster_defers"], [true, false])
  func storms(name: String, withLog: Bool) throws {
    let (replay, truth) = try replay(name, withLog: withLog)
    let expected = truth.storms[0]
    try #require(replay.outcome.began.count == 1, "\(replay.outcome.began.map(\.storm.reason))")
    let (time, storm) = replay.outcome.began[0]
    let innocents = Set(truth.innocents)
    let delay = time.seconds - expected.begins
    let before = replay.entries.values.count {
      $0.identity.birth.seconds >= expected.begins && $0.identity.birth <= time
        && !innocents.contains(Text.decode($0.sender.bytes))
    }
    print(
      "\(name) \(withLog ? "with log" : "queue only"): \(delay) s, \(before) messages; \(storm.reason)"
    )
    #expect(storm.kind.rawValue == expected.kind)
    #expect(delay <= 5 || before <= 40)
    for offender in storm.offenders {
      #expect(expected.offenders.contains(.init(type: offender.type, value: offender.value)))
    }
    #expect(storm.offenders.isEmpty == expected.offenders.isEmpty)
    for victim in expected.victims { #expect(storm.victims.contains(victim)) }
    #expect(replay.outcome.joined.count > 50)
    for identity in replay.outcome.joined {
      let entry = try #require(replay.entries[identity])
      #expect(!innocents.contains(Text.decode(entry.sender.bytes)))
      for client in clients(of: entry.source) { #expect(!innocents.contains(client)) }
      #expect(entry.identity.birth.seconds >= expected.begins - 0.01)
    }
  }

  @Test(
    "a busy list and a provider's outage are no storms that anybody pays for",
    arguments: ["mailman_verp", "provider_down"], [true, false])
  func innocents(name: String, withLog: Bool) throws {
    let (replay, _) = try replay(name, withLog: withLog)
    for began in replay.outcome.began {
      print("\(name): \(began.time.iso8601) \(began.storm.reason)")
    }
    #expect(replay.outcome.grave.isEmpty)
    #expect(replay.outcome.joined.isEmpty)
    if name == "mailman_verp" { #expect(replay.outcome.began.isEmpty) }
    for storm in replay.outcome.began.map(\.storm) {
      #expect(storm.kind == .surge && storm.victims == ["bigmail.example"])
    }
  }
}
