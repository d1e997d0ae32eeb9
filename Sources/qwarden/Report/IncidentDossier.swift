import Foundation
import Ledger
import Mail
import Storms

/// All that is known of one incident, gathered once; text, JSON and HTML are three ways to write it down.
struct IncidentDossier {
  var storm: Storm
  var points: [IncidentPoint]
  /// Oldest first.
  var actions: [ActionRecord]
  var blocks: [Block]
  var states: [QuarantineRecord.State: Int]
  /// What the evidence is measured against: the policy as it is now.
  var settings: DetectorSettings

  init?(_ number: Int, _ ledger: Ledger, _ settings: DetectorSettings) throws(LedgerError) {
    guard let storm = try ledger.incident(number) else { return nil }
    self.storm = storm
    self.settings = settings
    points = try ledger.points(incident: number)
    actions = try ledger.actions(incident: number, limit: 1000).sorted { $0.first < $1.first }
    blocks = try ledger.blocks(Set(Block.State.allCases)).filter { $0.author == .incident(number) }
    states = try ledger.quarantineCounts(incident: number)
  }

  /// What has become of the messages chosen for the quarantine, in words.
  var quarantine: [String] {
    QuarantineRecord.State.allCases.compactMap { state in
      guard let count = states[state], count > 0 else { return nil }
      let words =
        switch state {
        case .intended: "about to be set aside"
        case .copied: "copied, not yet taken out"
        case .marked: "set aside, to leave the queue at their next retry"
        case .gone: "set aside and out of the queue"
        case .releasing: "being released"
        case .releaseInDoubt: "released or not, in doubt"
        case .expiring, .expired: "deleted when their time had run out"
        case .released: "released"
        case .abandoned: "left alone, for they left the queue first"
        }
      return "\(count) \(words)"
    }
  }

  /// In quarantine now: `release` puts these back.
  var setAside: Int { states.kept }

  /// The last sign of it, or the moment after which nothing is known.
  var lasted: Double { max(0, storm.lastSeen.seconds(since: storm.began)) }

  /// What it was, in a few words.
  var title: String {
    switch storm.kind {
    case .relaySender: "A flood from one sender"
    case .relaySource: "A flood from one source"
    case .localScript: "A flood from a local program"
    case .backscatterIn: "Backscatter to our users"
    case .bounceOut: "Bounces to forged senders"
    case .surge: "A surge of mail"
    case .stall: "A queue at a standstill"
    }
  }

  /// One measure of the evidence and what it is compared with.
  struct Measure {
    var name: String
    var value: String
    var threshold: String
  }

  var evidence: [Measure] {
    let evidence = storm.evidence
    let window = settings.window.text
    var measures: [Measure] = []
    func add(_ name: String, _ value: String, _ threshold: String) {
      measures.append(Measure(name: name, value: value, threshold: threshold))
    }
    guard storm.kind != .stall else { return [] }
    add(
      "messages", String(evidence.messages),
      "a storm has \(settings.messages) in \(window), or \(settings.recipients) recipients")
    add("recipients", String(evidence.recipients), "")
    if let share = failedShare {
      add(
        "failed for good",
        "\(share) % (\(evidence.failed) of \(evidence.failed + evidence.delivered))",
        "\(percent(settings.ordinaryFailureShare)) is ordinary, \(percent(settings.stormFailureShare)) a storm: \(evidence.failuresProven ? "proven" : "not proven") by the sequential test"
      )
    } else {
      add("failed for good", "none finished yet", "")
    }
    add(
      "deferred", String(evidence.lingering),
      "\(settings.deferredRecipients) over \(settings.deferredDomains) domains, with little success, are a storm too"
    )
    if evidence.recipientDomains > 0 {
      add("recipient domains", String(evidence.recipientDomains), "one domain alone is an outage")
    }
    add("senders", String(evidence.senders), "")
    add("clients", String(evidence.clients), "")
    add(
      "list and VERP marks", String(evidence.listMarked),
      "on half of the messages they speak for innocence")
    add(
      "usual",
      evidence.normalPerMinute.map { "\($0.tenths(short: true)) messages a minute" }
        ?? "not learned yet",
      "a storm is over \(settings.timesNormal.tenths(short: true)) times that")
    return measures
  }

  /// Of those finished, rounded down.
  var failedShare: Int? {
    let finished = storm.evidence.failed + storm.evidence.delivered
    return finished > 0 ? storm.evidence.failed * 100 / finished : nil
  }

  /// Why, in few words: of the sentence of a storm only its figures at that moment, for the rest is told of the storm itself.
  static func short(_ why: String) -> String {
    guard let end = why.range(of: " since ", options: .backwards),
      let floor = why.range(of: "; over the floor of ", options: .backwards),
      end.lowerBound < floor.lowerBound,
      let begin = why.range(of: ": ", range: why.startIndex..<end.lowerBound)
    else { return why }
    return String(why[begin.upperBound..<end.lowerBound])
  }

  /// What to type to take an action back; nil where nothing was done, or it is undone already.
  func undoing(_ action: ActionRecord) -> String? {
    guard action.outcome == .done else { return nil }
    switch action.action {
    case "block":
      let standing = blocks.contains { $0.isStanding && $0.entry == Address(action.value) }
      return standing ? "qwarden unblock \(Self.word(action.value))" : nil
    case "quarantine": return setAside > 0 ? "qwarden release --incident \(storm.incident)" : nil
    default: return nil
    }
  }

  /// An argument for a shell. What is blocked is printable ASCII, but may hold quotes and dollars.
  private static func word(_ bytes: [UInt8]) -> String {
    let text = Escaping.terminal(bytes)
    let isPlain = text.utf8.allSatisfy {
      (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0)
        || "@.-_+=".utf8.contains($0)
    }
    return isPlain ? text : "'\(text.replacing("'", with: "'\\''"))'"
  }

  private func percent(_ share: Double) -> String { "\(Int((share * 100).rounded())) %" }
}
