import Response
import Storms

/// The daemon's figures in the text format of Prometheus, for node_exporter's textfile collector.
///
/// Names of addresses, users and hosts never get into it: labels are words of our own, so their number is bounded whatever mail comes.
struct Metrics: Sendable {
  /// Seconds between two writings.
  static let pause = 5.0

  private var storms: [StormKind: Int] = [:]
  private var actions: [Action: Int] = [:]

  private struct Action: Hashable {
    var name: String
    var outcome: String
  }

  mutating func count(_ kind: StormKind) { storms[kind, default: 0] += 1 }

  mutating func count(_ outcome: Outcome) {
    switch outcome {
    case .blocked: add("block", "done")
    case .unblocked: add("unblock", "done")
    case .quarantined: add("quarantine", "done")
    case .released: add("release", "done")
    case .expired: add("expire", "done")
    case .held(let planned, _, _): add(planned.action.name, "held")
    case .failed(let failure): add(Self.label(failure.action), "failed")
    case .removedByHand, .strayLineRemoved, .releaseInDoubt, .abandoned, .gone: break
    }
  }

  /// What fails is called as what is done.
  private static func label(_ action: String) -> String {
    switch action {
    case "write": "block"
    case "set aside": "quarantine"
    default: action
    }
  }

  private mutating func add(_ name: String, _ outcome: String) {
    actions[Action(name: name, outcome: outcome), default: 0] += 1
  }

  func text(_ status: StatusReport, _ flow: FlowMeter) -> String {
    var page = Page()
    page.add(
      "info", .gauge, "What runs here.", [(["version": status.version, "mode": status.mode], 1)])
    page.add("start_time_seconds", .gauge, "When the daemon began, in Unix time.", status.started)
    page.add(
      "queue_readable", .gauge, "Whether the queue can be watched.",
      status.trouble("queue") == nil ? 1 : 0)
    if let running = status.queue.senderIsRunning {
      page.add("qmail_send_running", .gauge, "Whether qmail-send is at work.", running ? 1 : 0)
    }
    page.add(
      "trouble", .gauge, "What does not work at the moment, 1 each, by kind.",
      Troubles.Kind.allCases.map { kind in
        (["kind": kind.rawValue], status.trouble(kind.rawValue) == nil ? 0 : 1)
      })
    let queue = status.queue
    page.add("queue_messages", .gauge, "Messages in the queue.", queue.messages)
    page.add(
      "queue_unprocessed_messages", .gauge, "Messages that qmail-send has not taken in yet (todo).",
      queue.unprocessed)
    for (name, count, help) in [
      ("local", queue.local, "Messages with local recipients."),
      ("remote", queue.remote, "Messages with remote recipients."),
      ("bouncing", queue.bouncing, "Messages with recipients that failed for good."),
      ("leaving", queue.doneOnly, "Messages with nobody left to deliver to."),
    ] {
      if let count { page.add("queue_\(name)_messages", .gauge, help, count) }
    }
    page.add(
      "arrivals_total", .counter, "Messages that came into the queue.", flow.totals.arrived)
    var outcomes = [("success", flow.totals.delivered), ("failure", flow.totals.failed)]
    // The queue alone does not show deferrals.
    if flow.isLogged { outcomes.append(("deferral", flow.totals.deferred)) }
    page.add(
      "deliveries_total", .counter, "Delivery attempts that ended, by outcome.",
      outcomes.map { (["outcome": $0.0], Double($0.1)) })
    page.add(
      "storms_total", .counter, "Storms that began, by kind.",
      StormKind.allCases.map { (["kind": $0.rawValue], Double(storms[$0] ?? 0)) })
    page.add(
      "storms", .gauge, "Storms that go on, by kind.",
      StormKind.allCases.map { kind in
        (["kind": kind.rawValue], Double(status.storms.count { $0.kind == kind.rawValue }))
      })
    // The usual ones stand there from the start, so that their rise from nothing is seen.
    var counts = actions
    for name in ["block", "quarantine"] {
      for outcome in ["done", "held", "failed"] {
        counts[Action(name: name, outcome: outcome), default: 0] += 0
      }
    }
    page.add(
      "actions_total", .counter, "What the hands did, could not do, or were kept from doing.",
      counts.sorted { ($0.key.name, $0.key.outcome) < ($1.key.name, $1.key.outcome) }
        .map { (["action": $0.key.name, "outcome": $0.key.outcome], Double($0.value)) })
    page.add("blocks", .gauge, "Lines of qwarden's in badmailfrom.", status.activeBlocks)
    page.add("quarantine_messages", .gauge, "Messages set aside.", status.quarantined)
    page.add(
      "quarantine_pending_messages", .gauge, "Messages chosen and not yet set aside.",
      status.quarantinePending)
    page.add(
      "look_seconds", .gauge, "How long the latest look at the queue took.", status.lastLook.seconds
    )
    if let log = status.log, log.source != nil {
      page.add("log_lines_total", .counter, "Lines of qmail-send's log that were read.", log.lines)
      page.add("log_gaps_total", .counter, "Times that lines may have been missed.", log.gaps)
      page.add(
        "log_behind_seconds", .gauge, "How far the reading of the log is behind.", log.behind)
      page.add(
        "seen_messages_total", .counter, "Messages by where they were seen.",
        [
          (["by": "both"], Double(log.seenByBoth)), (["by": "queue"], Double(log.seenByQueueOnly)),
          (["by": "log"], Double(log.seenByLogOnly)),
        ])
    }
    return page.text
  }

  /// The text format: HELP and TYPE before the samples of each name.
  private struct Page {
    enum Kind: String { case gauge, counter }

    private(set) var text = ""

    mutating func add(
      _ name: String, _ kind: Kind, _ help: String, _ samples: [([String: String], Double)]
    ) {
      text += "# HELP qwarden_\(name) \(help)\n# TYPE qwarden_\(name) \(kind.rawValue)\n"
      for (labels, value) in samples {
        let list = labels.sorted { $0.key < $1.key }
          .map { "\($0.key)=\"\(Self.escape($0.value))\"" }.joined(separator: ",")
        text += "qwarden_\(name)\(list.isEmpty ? "" : "{\(list)}") \(Self.number(value))\n"
      }
    }

    mutating func add(_ name: String, _ kind: Kind, _ help: String, _ value: Double) {
      add(name, kind, help, [([:], value)])
    }

    mutating func add(_ name: String, _ kind: Kind, _ help: String, _ value: Int) {
      add(name, kind, help, Double(value))
    }

    private static func escape(_ value: String) -> String {
      value.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
    }

    private static func number(_ value: Double) -> String {
      value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : String(value)
    }
  }
}
