import Mail
import QmailQueue
import Selection
import Synchronization

/// A message that an order is about.
struct ChosenMessage: Sendable, Hashable {
  var identity: EntryIdentity
  var sender: Address
  var size: Int64
  /// Recipients still to be tried.
  var recipients: Int
  var isUnprocessed: Bool
  /// The beginning of the raw Subject.
  var subject: [UInt8]
}

/// What an order would touch, for the administrator to look at before anything is done.
struct RemovalPlan: Sendable {
  private static let longestSubject = 120
  private static let sendersShown = 5
  private static let samplesShown = 3

  /// Oldest first.
  var messages: [ChosenMessage] = []
  /// Selected, but with nobody left to try: they leave by themselves.
  var leaving = 0
  /// Selected by number, and not there.
  var missing: [UInt64] = []

  init(_ messages: [ChosenMessage], leaving: Int = 0, missing: [UInt64] = []) {
    self.messages = messages.sorted { $0.identity < $1.identity }
    self.leaving = leaving
    self.missing = missing
  }

  /// Looks through the queue.
  init(_ selection: Selection, _ layout: QueueLayout, now: Timestamp) throws {
    let found = Mutex<(messages: [ChosenMessage], leaving: Int, seen: Set<UInt64>)>(([], 0, []))
    let progress = Mutex(Progress(isAlone: true))
    let look = selection.look([.recipients, .message], now: now) { entry, _ in
      ChosenMessage(
        identity: entry.identity, sender: entry.sender, size: entry.size,
        recipients: entry.pendingCount, isUnprocessed: entry.isUnprocessed,
        subject: Array(entry.subject.prefix(Self.longestSubject)))
    }
    try QueueScanner(layout: layout).forEach(look, ids: selection.onlyIDs) { findings in
      for damaged in findings.damaged {
        Output.complain("message \(damaged.id): \(damaged.why)")
      }
      found.withLock { found in
        for message in findings.items {
          found.seen.insert(message.identity.id)
          if message.recipients == 0, !message.isUnprocessed {
            found.leaving += 1
          } else {
            found.messages.append(message)
          }
        }
      }
      progress.withLock { $0.advance(by: findings.looked) }
      return true
    }
    progress.withLock { $0.end() }
    let (messages, leaving, seen) = found.withLock { $0 }
    self.init(messages, leaving: leaving, missing: selection.ids.subtracting(seen).sorted())
  }

  /// For people: how much, from whom, and a few of them to recognise.
  /// - Parameter recipientsAre: what is said of the recipients counted.
  func text(now: Timestamp, _ style: Style, recipientsAre: String = "still to be tried") -> String {
    let bytes = messages.reduce(0) { $0 + $1.size }
    let recipients = messages.reduce(0) { $0 + $1.recipients }
    var out =
      style(
        .strong,
        "\(Readable.count(messages.count, "message")), \(Readable.size(bytes)) bytes, \(Readable.count(recipients, "recipient")) \(recipientsAre)"
      ) + "\n"
    let unprocessed = messages.count(where: \.isUnprocessed)
    if unprocessed > 0 {
      out += "\(unprocessed) not taken in by qmail-send yet\n"
    }
    out += notes
    if messages.isEmpty { return out }

    var counts: [Address: Int] = [:]
    for message in messages { counts[message.sender, default: 0] += 1 }
    let senders = counts.sorted {
      $0.value != $1.value
        ? $0.value > $1.value : $0.key.bytes.lexicographicallyPrecedes($1.key.bytes)
    }
    out += "senders:\n"
    for (sender, count) in senders.prefix(Self.sendersShown) {
      out += Readable.right(String(count), 9) + "  <\(sender)>\n"
    }
    if senders.count > Self.sendersShown {
      let others = senders.dropFirst(Self.sendersShown)
      out +=
        Readable.right(String(others.reduce(0) { $0 + $1.value }), 9)
        + "  from \(Readable.count(others.count, "other sender"))\n"
    }
    out += "for example:\n"
    for message in messages.prefix(Self.samplesShown) {
      out +=
        style(.number, Readable.right(String(message.identity.id), 9))
        + Readable.right(Readable.age(now.seconds(since: message.identity.birth)), 5)
        + Readable.right(Readable.size(message.size), 6) + "  <\(message.sender)>  "
        + Escaping.terminal(EncodedWords.decode(message.subject)) + "\n"
    }
    return out
  }

  /// What was named and is not part of the plan.
  var notes: String {
    var out = ""
    if leaving > 0 {
      out +=
        "\(Readable.count(leaving, "more message")) with no recipient left to try: qmail-send removes such by itself\n"
    }
    for id in missing.prefix(20) { out += "\(id) is not selected, or not in the queue\n" }
    if missing.count > 20 { out += "and \(missing.count - 20) more numbers likewise\n" }
    return out
  }
}
