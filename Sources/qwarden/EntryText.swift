import Mail

/// A message as `list` prints it for people.
struct EntryText: Sendable {
  /// The fields that qmHandle shows, in its order.
  static let headerNames = ["From", "To", "Cc", "Subject", "Date"]
  let now: Timestamp
  let style: Style

  var heading: String {
    style(
      .strong,
      Readable.right("ID", 9) + Readable.right("AGE", 5) + Readable.right("SIZE", 6)
        + Readable.right("LEFT", 8) + "  " + Readable.pad("SENDER", 32) + " "
        + Readable.pad("FROM", 24) + " TO") + "\n"
  }

  func row(_ entry: Entry) -> String {
    let total = entry.local.count + entry.remote.count + entry.unrouted.count
    let left = entry.pendingCount
    let next =
      (entry.local.first { !$0.isDone } ?? entry.remote.first { !$0.isDone })?.address
      ?? entry.unrouted.first
    var to = next.map(\.description) ?? "-"
    if left > 1 { to += " and \(left - 1) more" }
    return style(.number, Readable.right(String(entry.identity.id), 9))
      + Readable.column(Readable.age(now.seconds(since: entry.identity.birth)), 5)
      + Readable.column(Readable.size(entry.size), 6)
      + Readable.column("\(left)/\(total)", 8) + "  "
      + Readable.pad("<\(entry.sender)>", 32) + " "
      + Readable.pad(Readable.source(entry.source), 24)
      + " \(to)\(marks(entry))\n"
  }

  /// ` (bouncing)` and the like.
  private func marks(_ entry: Entry) -> String {
    var marks: [String] = []
    if entry.isUnprocessed { marks.append(style(.waiting, "unprocessed")) }
    if entry.isBouncing { marks.append(style(.bad, "bouncing")) }
    if entry.isDoneOnly { marks.append(style(.dim, "leaving")) }
    return marks.isEmpty ? "" : " (\(marks.joined(separator: ", ")))"
  }

  /// The message with its header fields, decoded, a line each; those that are not there are left out.
  func block(_ entry: Entry, _ header: MessageHeader) -> String {
    var out = style(.number, String(entry.identity.id)) + marks(entry) + "\n"
    for name in Self.headerNames {
      for value in header.values(name) { out += field(name, EncodedWords.decode(value)) }
    }
    return out + field("Size", Array("\(entry.size) bytes".utf8))
  }

  func field(_ name: String, _ value: [UInt8]) -> String {
    "  " + style(.strong, Readable.pad("\(name):", 9)) + Escaping.terminal(value) + "\n"
  }
}

extension JSONLine {
  /// `from to cc subject date`: each the decoded text of the first field of that name, null where there is none.
  mutating func add(_ header: MessageHeader) {
    for name in EntryText.headerNames {
      if let text = header.text(name) {
        add(name.lowercased(), text)
      } else {
        addNull(name.lowercased())
      }
    }
  }
}
