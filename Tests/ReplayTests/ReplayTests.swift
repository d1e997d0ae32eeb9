import Foundation
import Mail
import Policy
import Replay
import Response
import Storms
import Synchronization
import Testing

/// The recorded traces that the detector's tests use too.
private let samples = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
  .deletingLastPathComponent().appendingPathComponent("StormsTests/Samples").path

/// A recorded trace, read once for all tests.
struct Recorded {
  var header: TraceReader.Header
  var observations: [Observation] = []

  private static let known = Mutex<[String: Recorded]>([:])

  static func trace(_ name: String) throws -> Recorded {
    try known.withLock { known in
      if let trace = known[name] { return trace }
      let file = try TraceFile("\(samples)/\(name).jsonl.gz")
      var trace = Recorded(header: file.header)
      while let observation = try file.next() { trace.observations.append(observation) }
      #expect(file.damage == nil)
      known[name] = trace
      return trace
    }
  }
}

private func replay(_ name: String, _ policy: Policy) throws -> [ReplayEvent] {
  let trace = try Recorded.trace(name)
  var replay = Replay(policy: policy, header: trace.header)
  return trace.observations.flatMap { replay.observe($0) }
}

func enforcing(_ change: (inout Policy) -> Void = { _ in }) -> Policy {
  var policy = Policy()
  policy.mode = .enforce
  change(&policy)
  return policy
}

extension [ReplayEvent] {
  fileprivate var actions: [PlannedAction] {
    compactMap { if case .action(let action) = $0.what { action } else { nil } }
  }
  fileprivate var blocks: [PlannedAction] { actions.filter { $0.action.name == "block" } }
  fileprivate var quarantines: [PlannedAction] { actions.filter { $0.action.name == "quarantine" } }
  fileprivate var began: [Storm] {
    compactMap { if case .began(let storm) = $0.what { storm } else { nil } }
  }
}

@Suite("Replaying a trace")
struct ReplayTests {
  @Test("a hijacked account is alerted of, blocked once and its messages set aside, in that order")
  func relay() throws {
    let events = try replay("relay_user", enforcing())
    #expect(events.began.map(\.kind) == [.relaySender])
    guard case .began = events.first?.what else {
      Issue.record("\(events.first as Any)")
      return
    }
    let performed = events.blocks.filter { $0.decision == .perform }
    try #require(performed.count == 1)
    #expect(events.quarantines.count > 50)
    #expect(events.quarantines.allSatisfy { $0.decision == .perform })
    let names = events.actions.map(\.action.name)
    #expect(names.first == "alert")
    #expect(zip(events, events.dropFirst()).allSatisfy { $0.time <= $1.time })
  }

  @Test("a clock set back while a trace was recorded hides no storm, and a late log is no clock")
  func clockSetBack() throws {
    var trace = try Recorded.trace("relay_user")
    let middle = try #require(trace.observations.first).time + .seconds(20)
    for place in trace.observations.indices where trace.observations[place].time > middle {
      trace.observations[place].time = trace.observations[place].time - .seconds(7200)
      guard case .arrival(var entry) = trace.observations[place].event else { continue }
      entry.identity.birth = entry.identity.birth - .seconds(7200)
      trace.observations[place].event = .arrival(entry)
    }
    var replay = Replay(policy: enforcing(), header: trace.header)
    let events = trace.observations.flatMap { replay.observe($0) }
    #expect(events.began.map(\.kind) == [.relaySender])
    #expect(events.quarantines.count > 50)
  }

  @Test("in observe mode each action names observe mode, so it is what enforce mode would do")
  func observing() throws {
    let observed = try replay("relay_user", Policy()).actions
    let enforced = try replay("relay_user", enforcing()).actions
    #expect(observed.map(\.action) == enforced.map(\.action))
    for (held, done) in zip(observed, enforced) where done.action != .alert {
      guard done.decision == .perform else {
        #expect(held.decision == done.decision)
        continue
      }
      guard case .hold(.observeMode, let why) = held.decision else {
        Issue.record("\(held)")
        continue
      }
      #expect(why.contains("mode: observe"))
    }
  }

  @Test("backscatter is set aside and nobody is blocked")
  func backscatter() throws {
    let events = try replay("backscatter_postmaster_defers", enforcing())
    #expect(events.began.map(\.kind) == [.backscatterIn])
    #expect(events.blocks.allSatisfy { $0.decision.isHeld })
    #expect(events.quarantines.count > 50)
  }

  @Test("a list and an outage call for no hand", arguments: ["mailman_verp", "provider_down"])
  func innocent(name: String) throws {
    #expect(try replay(name, enforcing()).actions.allSatisfy { $0.action == .alert })
  }

  @Test("caps of the policy hold as they hold the daemon's hands, in observe mode too")
  func caps() throws {
    for mode in Policy.Mode.allCases {
      let policy = enforcing {
        $0.mode = mode
        $0.quarantine.perStorm = 20
        $0.blocking.perHour = 0
      }
      let events = try replay("relay_user", policy)
      let beyond = events.quarantines.dropFirst(20)
      #expect(events.quarantines.count > 20)
      for action in beyond {
        guard case .hold(.messagesPerStorm, _) = action.decision else {
          Issue.record("\(action)")
          break
        }
      }
      // Asked again at every look, told once.
      #expect(events.blocks.count { $0.why.contains("cap") } == 1)
    }
  }

  @Test("mail of a protected sender stays, whoever floods")
  func protected() throws {
    let events = try replay("relay_user", enforcing { $0.protect.senders = ["@mx.test"] })
    #expect(events.began.count == 1)
    #expect(events.blocks.allSatisfy { $0.decision.isHeld })
    #expect(!events.quarantines.isEmpty)
    for action in events.quarantines {
      guard case .hold(.protected, _) = action.decision else {
        Issue.record("\(action)")
        break
      }
    }
  }

  @Test("the JSON has the keys of the contract, and a line with its id for each message")
  func json() throws {
    let events = try replay("relay_user", Policy())
    for event in events {
      let object = try JSONValue(Array(event.json.text.utf8)[...])
      #expect(object["t"]?.number != nil && object["incident"]?.integer == 1)
      switch event.what {
      case .began:
        #expect(object["event"] == .string("storm-began"))
        #expect(object["kind"] == .string("relay-sender"))
        #expect(object["offenders"]?.array?.first?["type"] == .string("sender"))
        #expect(object["victims"]?.array != nil && object["reason"]?.string?.isEmpty == false)
      case .changed: #expect(object["event"] == .string("storm-changed"))
      case .ended: #expect(object["event"] == .string("storm-ended"))
      case .action(let action):
        #expect(object["event"] == .string("action"))
        #expect(object["action"] == .string(action.action.name))
        #expect(object["done"] == .bool(action.action == .alert))
        #expect(object["why"]?.string?.isEmpty == false)
        if case .quarantine(let identity) = action.action {
          #expect(object["id"]?.integer == Int64(identity.id))
        }
      }
    }
  }
}
