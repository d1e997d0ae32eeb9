import Files
import Ledger
import Mail
import QmailQueue
import QmailSimulator
import Synchronization

/// Where each recipient of each message is: to do in the queue, delivered, failed, or in quarantine with a whole copy. Exactly one of them.
final class Account {
  private struct Letter {
    var open: Set<Address>
    /// Of its text below what qmail wrote.
    var text: Int
  }
  private struct Kept: Hashable {
    var tag: String
    var owed: Set<Address>
  }

  /// Messages with a recipient whose fate is open, by Message-ID.
  private var letters: [String: Letter] = [:]
  private var closed: Set<String> = []
  /// Whose the numbers in the queue are now.
  private var tags: [UInt64: String] = [:]
  private var deliveries: [UInt64: (tag: String, recipient: Address)] = [:]
  private var kept: [EntryIdentity: Kept] = [:]
  private let layout: QueueLayout

  private(set) var taken = 0
  private(set) var refused = 0
  private(set) var delivered = 0
  private(set) var failed = 0
  private(set) var expired = 0
  var openCount: Int { letters.count }
  var keptCount: Int { kept.count }
  /// All that was found wrong, to be taken.
  var complaints: [String] = []

  init(_ layout: QueueLayout) { self.layout = layout }

  /// What the server answered to a message that was offered.
  func note(_ injection: SimulatedInjection, _ outcome: SMTPOutcome) {
    guard let id = outcome.entry, let tag = Self.tag(injection.message) else {
      refused += 1
      return
    }
    let accepted =
      outcome.replies.isEmpty
      ? injection.recipients
      : zip(injection.recipients, outcome.replies).filter { $0.1.code == 250 }.map(\.0)
    taken += 1
    tags[id] = tag
    letters[tag] = Letter(open: Set(accepted), text: Self.hash(injection.message))
  }

  /// A line of qmail-send's log.
  func note(_ line: SendLogLine) {
    switch line {
    case .info(let id, _, _, _, _) where tags[id] == nil:
      // A release of ours, or a bounce.
      if let bytes = try? Descriptor.open(layout.path(.mess, id)).read(limit: 8192, from: 0) {
        tags[id] = Self.tag(bytes)
      }
    case .starting(let delivery, let id, _, let recipient):
      deliveries[delivery] = tags[id].map { ($0, recipient) }
    case .outcome(let delivery, let outcome, _):
      guard let (tag, recipient) = deliveries.removeValue(forKey: delivery), outcome != .deferral
      else { return }
      if outcome == .success { delivered += 1 } else { failed += 1 }
      close(recipient, of: tag, "\(outcome.rawValue)")
    case .end(let id): tags[id] = nil
    default: break
    }
  }

  private func close(_ recipient: Address, of tag: String, _ what: String) {
    guard letters[tag]?.open.remove(recipient) != nil else {
      complaints.append(
        "\(tag) to \(recipient): \(what), and \(closed.contains(tag) ? "all of it" : "that one") was finished before"
      )
      return
    }
    guard letters[tag]?.open.isEmpty == true else { return }
    letters[tag] = nil
    closed.insert(tag)
  }

  /// Goes through queue and quarantine. While nothing moves.
  func check(state: String) {
    do { try checkAll(state) } catch { complaints.append("the account cannot be made: \(error)") }
  }

  private func checkAll(_ state: String) throws {
    let found = Mutex<[(UInt64, Set<Address>)]>([])
    try QueueScanner(layout: layout).forEachEntry { outcomes in
      for case .entry(let entry) in outcomes {
        let pending =
          (entry.local + entry.remote).filter { !$0.isDone }.map(\.address) + entry.unrouted
        found.withLock { $0.append((entry.identity.id, Set(pending))) }
      }
      return true
    }
    var queued: [String: Set<Address>] = [:]
    for (id, pending) in found.withLock({ $0 }) where !pending.isEmpty {
      guard let tag = try tags[id] ?? Self.tag(head(id)) else { continue }
      if !queued[tag, default: []].isDisjoint(with: pending) {
        complaints.append("\(tag) is in the queue twice")
      }
      queued[tag, default: []].formUnion(pending)
    }

    let ledger = try Ledger("\(state)/ledger.sqlite", creating: false)
    let store = try? QuarantineStore(path: "\(state)/quarantine", creating: false)
    let contents = try store?.contents()
    if let contents, !contents.partial.isEmpty || !contents.foreign.isEmpty {
      complaints.append("half copies: \(contents.partial.count), strangers: \(contents.foreign)")
    }
    var rows: Set<EntryIdentity> = []
    var after: Int64 = 0
    while true {
      let records = try ledger.quarantine(
        [.copied, .marked, .gone, .releaseInDoubt], after: after, limit: 1000)
      guard let last = records.last else { break }
      after = last.id
      rows.formUnion(records.map(\.identity))
    }
    let copies = Set(contents?.messages ?? [])
    if rows != copies {
      complaints.append(
        "the ledger has \(rows.count) messages in quarantine and the disk \(copies.count): \(rows.symmetricDifference(copies).sorted().prefix(3))"
      )
    }
    for identity in copies {
      guard let store else { break }
      if kept[identity] == nil {
        let bytes = try store.message(identity).read(limit: 1 << 17)
        guard let tag = Self.tag(bytes) else { continue }
        if let letter = letters[tag], letter.text != Self.hash(bytes) {
          complaints.append("\(tag): its copy is not what was sent")
        }
        kept[identity] = Kept(tag: tag, owed: [])
      }
      let owed = try store.read(identity).recipients.filter {
        [.marked, .inDoubt].contains($0.state)
      }
      kept[identity]?.owed = Set(owed.map(\.address))
    }
    for (identity, copy) in kept where !copies.contains(identity) {
      kept[identity] = nil
      switch try ledger.quarantine(of: identity)?.state {
      case .expired?:
        expired += 1
        for recipient in copy.owed { close(recipient, of: copy.tag, "expired") }
      // Released, or left in the queue after all: its recipients are looked for like any other.
      case .released?, .abandoned?: break
      case let state:
        complaints.append("\(copy.tag): its copy is gone, and the ledger says \(state as Any)")
      }
    }
    var held: [String: Set<Address>] = [:]
    for copy in kept.values { held[copy.tag, default: []].formUnion(copy.owed) }
    for (tag, letter) in letters {
      let (waiting, aside) = (queued[tag] ?? [], held[tag] ?? [])
      for recipient in letter.open {
        switch (waiting.contains(recipient), aside.contains(recipient)) {
        case (true, false), (false, true): break
        case (true, true):
          complaints.append("\(tag) to \(recipient): in the queue and in quarantine")
        case (false, false): complaints.append("\(tag) to \(recipient): lost")
        }
      }
    }
    for (tag, pending) in queued {
      let open = letters[tag]?.open ?? []
      for recipient in pending.subtracting(open) {
        complaints.append("\(tag) to \(recipient): finished, and to do in the queue")
      }
    }
  }

  private func head(_ id: UInt64) throws -> [UInt8] {
    try Descriptor.open(layout.path(.mess, id)).read(limit: 8192, from: 0)
  }

  /// The Message-ID that the traffic gave it; nil for what qmail itself wrote.
  private static func tag(_ message: [UInt8]) -> String? {
    for line in message.split(separator: 10, omittingEmptySubsequences: false) {
      if line.isEmpty { return nil }
      if line.starts(with: "Message-ID:".utf8) { return Text.decode(line.dropFirst(12)) }
    }
    return nil
  }

  /// Of what the sender wrote: below the lines that our server puts on top.
  private static func hash(_ message: [UInt8]) -> Int {
    var rest = message[...]
    while let end = rest.firstIndex(of: 10), !rest.starts(with: "From: ".utf8) {
      rest = rest[(end + 1)...]
    }
    return rest.hashValue
  }
}
