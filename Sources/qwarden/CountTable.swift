import ArgumentParser
import Mail
import QmailQueue

/// What `list --count-by` counts by.
enum CountKey: String, ExpressibleByArgument, CaseIterable {
  case sender
  case senderDomain = "sender-domain"
  case recipientDomain = "recipient-domain"
  case client, user, uid, subject, age, kind

  /// What must be read of each message.
  var detail: EntryDetail {
    switch self {
    case .sender, .senderDomain, .age: []
    case .recipientDomain: .recipients
    case .client, .user, .uid, .subject, .kind: .message
    }
  }

  /// Recipients still to be tried are counted by domain, messages by all else.
  var unit: String { self == .recipientDomain ? "recipients" : "messages" }

  /// Its name in JSON.
  var field: String { String(rawValue.map { $0 == "-" ? "_" : $0 }) }

  /// As qshape has them: each bucket twice as long as the one before.
  static let ages: [(below: Double, name: String)] = [
    (300, "under 5m"), (600, "5m to 10m"), (1200, "10m to 20m"), (2400, "20m to 40m"),
    (4800, "40m to 80m"), (9600, "80m to 160m"), (19_200, "160m to 5h"), (38_400, "5h to 11h"),
    (76_800, "11h to 21h"), (172_800, "21h to 2d"), (345_600, "2d to 4d"),
    (.infinity, "over 4d"),
  ]

  /// What a message counts for; empty where it does not count.
  func values(of entry: Entry, now: Timestamp) -> [CountedValue] {
    switch self {
    case .sender: [.bytes(entry.sender.bytes)]
    case .senderDomain:
      entry.sender.domain.isEmpty
        ? [.none("no domain")] : [.bytes(Array(entry.sender.domain.text.utf8))]
    case .recipientDomain:
      (entry.local.filter { !$0.isDone }.map(\.address)
        + entry.remote.filter { !$0.isDone }.map(\.address) + entry.unrouted)
        .map { $0.domain.isEmpty ? .none("no domain") : .bytes(Array($0.domain.text.utf8)) }
    case .client:
      if case .network(let client, _, _) = entry.source {
        [.bytes(Array(client.utf8))]
      } else {
        [.none(entry.source.via)]
      }
    case .user:
      if case .network(_, _, let user?) = entry.source {
        [.bytes(Array(user.utf8))]
      } else {
        [.none("no user")]
      }
    case .uid:
      if case .uid(let uid) = entry.source {
        [.bytes(Array(String(uid).utf8))]
      } else {
        [.none(entry.source.via)]
      }
    case .subject:
      entry.subject.isEmpty ? [.none("no subject")] : [.bytes(EncodedWords.decode(entry.subject))]
    case .age:
      [.bucket(Self.bucket(now.seconds(since: entry.identity.birth)))]
    case .kind: [.bytes(Array(Self.kind(of: entry).utf8))]
    }
  }

  private static func bucket(_ age: Double) -> Int {
    ages.firstIndex { age < $0.below } ?? ages.count - 1
  }

  private static func kind(of entry: Entry) -> String {
    if entry.sender.isDoubleBounce { return "double bounce" }
    if entry.source.isBounce { return "bounce of ours" }
    if entry.sender.isNull { return "bounce from elsewhere" }
    return entry.isList ? "list" : "mail"
  }
}

/// One value of a key.
enum CountedValue: Hashable, Sendable {
  case bytes([UInt8])
  /// An age, by its place in ``CountKey/ages``.
  case bucket(Int)
  /// The message has no such value, and what it has instead.
  case none(String)
}

/// Counts by value in bounded memory: past a million different values, further new ones are counted as others.
struct CountTable: Sendable {
  static let most = 1_000_000
  private static let barWidth = 24
  private var counts: [CountedValue: Int] = [:]
  private(set) var others = 0
  private(set) var total = 0
  private let limit: Int

  init(limit: Int = most) { self.limit = limit }

  mutating func add(_ value: CountedValue) {
    total += 1
    if let index = counts.index(forKey: value) {
      counts.values[index] += 1
    } else if counts.count < limit {
      counts[value] = 1
    } else {
      others += 1
    }
  }

  /// Largest first, then by value; ages by age, so that their shape is seen.
  func rows() -> [(value: CountedValue, count: Int)] {
    counts.map { (value: $0.key, count: $0.value) }.sorted { a, b in
      if case .bucket(let x) = a.value, case .bucket(let y) = b.value { return x < y }
      return a.count != b.count ? a.count > b.count : Self.comesBefore(a.value, b.value)
    }
  }

  private static func comesBefore(_ a: CountedValue, _ b: CountedValue) -> Bool {
    switch (a, b) {
    case (.bytes(let a), .bytes(let b)): a.lexicographicallyPrecedes(b)
    case (.bytes, _): true
    case (.none(let a), .none(let b)): a < b
    default: false
    }
  }

  /// Aligned, with a bar for the eye.
  func text(by key: CountKey, _ style: Style) -> String {
    let rows = rows()
    let largest = max(rows.map(\.count).max() ?? 0, others, 1)
    let width = max(key.unit.utf8.count, String(largest).utf8.count)
    var out =
      style(
        .strong,
        Readable.right(key.unit.uppercased(), width) + "  SHARE  "
          + Readable.pad("", Self.barWidth) + "  "
          + key.rawValue.uppercased()) + "\n"
    func row(_ count: Int, _ name: String) {
      let tenths = total == 0 ? 0 : (count * 1000 + total / 2) / total
      let length = max((count * Self.barWidth + largest - 1) / largest, count > 0 ? 1 : 0)
      let bar = String(repeating: "#", count: length)
      out +=
        Readable.right(String(count), width)
        + Readable.right("\(tenths / 10).\(tenths % 10)%", 7) + "  "
        + style(.number, bar) + String(repeating: " ", count: Self.barWidth - length)
        + "  \(name)\n"
    }
    for (value, count) in rows { row(count, Self.name(value, key)) }
    if others > 0 { row(others, "(others)") }
    return out
  }

  /// An object a line: the value by the key's name (null where there is none, with `what`), and the count.
  func json(by key: CountKey) -> [JSONLine] {
    var lines = rows().map { value, count in
      var line = JSONLine()
      switch value {
      case .bytes(let bytes): line.add(key.field, bytes: bytes)
      case .bucket(let index): line.add(key.field, CountKey.ages[index].name)
      case .none(let what):
        line.addNull(key.field)
        line.add("what", what)
      }
      line.add(key.unit, count)
      return line
    }
    if others > 0 {
      var line = JSONLine()
      line.addNull(key.field)
      line.add("what", "others")
      line.add(key.unit, others)
      lines.append(line)
    }
    return lines
  }

  private static func name(_ value: CountedValue, _ key: CountKey) -> String {
    switch value {
    case .bytes(let bytes):
      key == .sender ? "<\(Escaping.terminal(bytes))>" : Escaping.terminal(bytes)
    case .bucket(let index): CountKey.ages[index].name
    case .none(let what): "(\(what))"
    }
  }
}
