import Mail
import Policy
import Response
import Storms

/// An explanation with what would follow under a policy, for people and for programs.
public struct ExplanationReport: Sendable {
  private let explanation: Explanation
  /// What the planner would do about its storm, or if it were one now.
  private let actions: [PlannedAction]

  public init(_ explanation: Explanation, policy: Policy, context: PlanningContext) {
    self.explanation = explanation
    var context = context
    context.now = explanation.time
    var storms = explanation.storms
    if storms.isEmpty, let storm = explanation.standings.first?.storm { storms = [storm] }
    actions = storms.flatMap { storm in
      context.storms[storm.incident] = storm
      let identity = explanation.message?.identity ?? EntryIdentity(id: 0, birth: explanation.time)
      return ResponsePlanner.blocks(for: storm, policy: policy, context: context)
        + ResponsePlanner.plan(
          .joined(incident: storm.incident, identity), policy: policy, context: context)
    }
  }

  /// No mail of it is known.
  public var isUnknown: Bool { explanation.isUnknown }

  public var lines: [String] {
    var lines = ["\(name), as of \(explanation.time.iso8601)"]
    func add(_ title: String, _ text: String) {
      let blanks = String(repeating: " ", count: max(1, 12 - title.utf8.count))
      lines.append("\(title)\(blanks)\(text)")
    }
    if explanation.isUnknown {
      add("unknown", "no mail of it within \(explanation.window.text)")
      return lines
    }
    if let message = explanation.message {
      add("born", message.identity.birth.iso8601)
      add("sender", "<\(message.sender)>\(source(message))")
      add("way", "\(way(message))\(message.isListMarked ? ", with list marks" : "")")
      add(
        "recipients",
        "\(message.recipients): \(message.failed) failed, \(message.delivered) delivered, \(message.waiting) waiting"
      )
      if message.isDisregarded { add("left out", "qwarden took it out itself: it is no evidence") }
      if message.isGone { add("gone", "it is no longer in the queue") }
    }
    for step in explanation.strangers { add(mark(step), step.text) }
    for standing in explanation.standings {
      // What is of its storm is counted there, and no more here.
      if standing.storm.incident != 0, standing.evidence.messages == 0 { continue }
      if explanation.message != nil { lines.append(name(of: standing.offender)) }
      for step in standing.steps { add(mark(step), step.text) }
      add("verdict", verdict(standing))
    }
    for storm in explanation.storms {
      add("storm", "\(storm.incident), \(storm.kind.rawValue): \(storm.reason)")
    }
    if explanation.storms.isEmpty, !actions.isEmpty {
      lines.append("If it became a storm now:")
    }
    for action in actions { add(title(action), text(action)) }
    return lines
  }

  public var json: JSONLine {
    var line = JSONLine()
    line.add("t", explanation.time.seconds)
    line.add("subject", name)
    line.add("known", !explanation.isUnknown)
    if let message = explanation.message {
      var item = JSONLine()
      item.add("id", message.identity.id)
      item.add("birth", message.identity.birth.seconds)
      item.add("sender", bytes: message.sender.bytes)
      item.add("way", message.traffic)
      item.add("recipients", message.recipients)
      item.add("failed", message.failed)
      item.add("delivered", message.delivered)
      item.add("waiting", message.waiting)
      line.add("message", item)
    }
    func steps(_ steps: [Explanation.Step]) -> [JSONLine] {
      steps.map { step in
        var item = JSONLine()
        item.add("step", step.name)
        item.add("reached", step.isReached)
        item.add("text", step.text)
        return item
      }
    }
    if !explanation.strangers.isEmpty { line.add("strangers", steps(explanation.strangers)) }
    line.add(
      "standings",
      explanation.standings.map { standing in
        var item = JSONLine()
        item.add("type", standing.offender.type)
        item.add("value", standing.offender.value)
        item.add("messages", standing.evidence.messages)
        item.add("recipients", standing.evidence.recipients)
        item.add("failed", standing.evidence.failed)
        item.add("delivered", standing.evidence.delivered)
        item.add("waiting", standing.evidence.lingering)
        item.add("domains", standing.evidence.recipientDomains)
        if let normal = standing.normal {
          item.add("normal", normal)
        } else {
          item.addNull("normal")
        }
        item.add("steps", steps(standing.steps))
        if let verdict = standing.verdict {
          item.add("verdict", verdict)
        } else {
          item.addNull("verdict")
        }
        return item
      })
    line.add("incidents", explanation.storms.map { UInt64($0.incident) })
    line.add(
      "actions",
      actions.map { action in
        var item = JSONLine()
        item.add("action", action.action.name)
        if case .block(let entry, _) = action.action { item.add("value", bytes: entry.bytes) }
        item.add("done", !action.decision.isHeld)
        if case .hold(let by, let why) = action.decision {
          item.add("guard", by.rawValue)
          item.add("why", why)
        }
        return item
      })
    return line
  }

  private var name: String {
    switch explanation.subject {
    case .offender(let offender): name(of: offender)
    case .message(let id): "message \(id)"
    }
  }

  private func name(of offender: Offender) -> String {
    "\(offender.type) \(Escaping.terminal(offender.value))"
  }

  private func verdict(_ standing: Explanation.Standing) -> String {
    switch standing.verdict {
    case nil: "no storm"
    case "suspicion": "a flood by its looks: told of, and acted on once it fails"
    case "volume": "far more than usual: told of, and left alone"
    case let why?: "a storm, for its \(why)"
    }
  }

  private func way(_ message: Explanation.Message) -> String {
    switch message.traffic {
    case "outbound": "to other hosts"
    case "inbound": "from strangers to our users"
    case "notice": "a failure notice from elsewhere to our users"
    case "noticeBounced": "our bounce of such a notice"
    case "bounceOut": "our bounce to whom a stranger named as sender"
    case "bounceHome": "our bounce to one of ours"
    default: "known from the log only, so far"
    }
  }

  private func mark(_ step: Explanation.Step) -> String {
    "\(step.isReached ? "+" : "-") \(step.name)"
  }

  private func source(_ message: Explanation.Message) -> String {
    var text = ""
    if let user = message.user { text += ", user \(Escaping.terminal(user))" }
    if let client = message.client { text += ", client \(Escaping.terminal(client))" }
    if let uid = message.uid { text += ", uid \(uid)" }
    return text
  }

  private func title(_ action: PlannedAction) -> String {
    if case .block = action.action { "block" } else { "set aside" }
  }

  private func text(_ action: PlannedAction) -> String {
    var text = ""
    if case .block(let entry, let lasting) = action.action {
      text = "\(entry) for \(lasting.text): "
    }
    switch action.decision {
    case .perform: return text + "yes"
    case .hold(let by, let why): return text + "held by \(by.rawValue): \(why)"
    }
  }
}
