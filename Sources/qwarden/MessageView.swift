import Ledger
import Mail

/// One message as `show` prints it: everything from the mail escaped, nothing else hidden.
struct MessageView {
  /// Text shown of one message at most, in bytes.
  static let longestText = 256 * 1024

  let entry: Entry
  let header: MessageHeader
  /// The message from its first byte; all of it unless `isCut`.
  let message: [UInt8]
  let isCut: Bool
  let now: Timestamp
  let style: Style
  /// Its record, where it is not in the queue but set aside.
  var quarantine: QuarantineRecord?
  /// And what qmail-send had noted of recipients that failed before.
  var failures: [UInt8] = []

  var text: String {
    let structure = MIMEStructure(message, header: header)
    return envelope + "\n" + noted + (fields.isEmpty ? "" : fields + "\n") + list(structure)
      + lines(of: header)
      + texts(structure)
  }

  // MARK: The envelope

  private var envelope: String {
    var out = style(.strong, "Message \(entry.identity.id)") + "\n"
    out += row("Sender", style(.strong, "<\(entry.sender)>"))
    out += row("Source", Readable.source(entry.source))
    let age = Readable.age(now.seconds(since: entry.identity.birth))
    out += row(
      "Since", "\(entry.identity.birth.iso8601) (\(age))")
    out += row("Size", "\(entry.size) bytes")
    var state: [String] = []
    if entry.isUnprocessed { state.append("not taken in by qmail-send yet") }
    if entry.isBouncing { state.append("has failed recipients") }
    if entry.isDoneOnly { state.append("nobody left to try: leaves at its next pass") }
    if entry.isList { state.append("list mail") }
    if let quarantine { state.append(Self.state(quarantine)) }
    if !state.isEmpty { out += row("State", state.joined(separator: "; ")) }
    let total = entry.recipients.count
    out += row("To try", "\(entry.pendingCount) of \(total) recipients")
    for (name, recipients) in [("local", entry.local), ("remote", entry.remote)] {
      for recipient in recipients {
        let mark = recipient.isDone ? style(.dim, "done") : "    "
        out += "  \(mark)  \(Readable.pad(name, 6))  \(recipient.address)\n"
      }
    }
    for address in entry.unrouted { out += "                \(address)\n" }
    return out
  }

  private static func state(_ record: QuarantineRecord) -> String {
    var out = "in quarantine (\(record.state.word))"
    if let marked = record.marked { out += " since \(marked.iso8601)" }
    if let incident = record.incident { out += ", incident \(incident)" }
    out += "; kept until \(record.expires.iso8601)"
    if record.facts.inDoubt > 0 { out += "; \(record.facts.inDoubt) recipients in doubt" }
    return out
  }

  private func row(_ name: String, _ value: String) -> String {
    Readable.pad("\(name):", 10) + value + "\n"
  }

  /// From, To, Cc, Subject and Date, decoded; the date also in UTC.
  private var fields: String {
    var out = ""
    for name in EntryText.headerNames {
      for value in header.values(name) {
        var text = Escaping.terminal(EncodedWords.decode(value))
        if name == "Date", let date = HeaderDate.parse(value) { text += "  (\(date.iso8601))" }
        out += style(.strong, Readable.pad("\(name):", 10)) + text + "\n"
      }
    }
    return out
  }

  private var noted: String {
    if failures.isEmpty { return "" }
    return style(.dim, "--- failed before it was set aside") + "\n"
      + Self.lines(failures[...]) + "\n"
  }

  // MARK: The parts

  private func list(_ structure: MIMEStructure) -> String {
    guard structure.parts.count > 1 || structure.parts.contains(where: { !$0.isText }) else {
      return ""
    }
    var out = style(.strong, "Parts") + "\n"
    for part in structure.parts {
      var line =
        "  \(Readable.pad(part.number, 6)) \(Readable.pad(Escaping.terminal(part.type), 28))"
        + Readable.right(Readable.size(Int64(part.body.count)), 7)
      if part.isAttachment { line += "  attachment" }
      if let name = part.name { line += "  \"\(Escaping.terminal(name))\"" }
      out += line + "\n"
    }
    if structure.isCut { out += "  … and more\n" }
    if isCut {
      out +=
        "  (the message is longer than \(Readable.size(Int64(message.count))) bytes: the rest is not cut up)\n"
    }
    return out + "\n"
  }

  /// The header as it stands.
  func lines(of header: MessageHeader) -> String {
    style(.dim, "--- header") + "\n"
      + header.fields.map { Self.lines(header.bytes[$0.lines]) }.joined()
  }

  private func texts(_ structure: MIMEStructure) -> String {
    var out = ""
    var room = Self.longestText
    let texts = structure.parts.filter { $0.isText && !$0.isAttachment }
    for part in texts {
      let title =
        structure.parts.count > 1
        ? "text of part \(part.number), \(Escaping.terminal(part.type))" : "text"
      out += style(.dim, "--- \(title)") + "\n"
      // Encoded text is at most four times as long as what it says.
      var start = part
      start.body = part.body.prefix(min(room * 4, part.body.count))
      let bytes = Array(start.text(in: message).utf8)
      out += Self.lines(bytes.prefix(room))
      if bytes.count > room || start.body.count < part.body.count || isCut && part == texts.last {
        out += style(.dim, "--- the rest is not shown; --raw has it") + "\n"
      }
      room -= min(bytes.count, room)
    }
    return out
  }

  /// Lines escaped for a terminal; their ends and tabs kept, a CR before a line's end dropped.
  static func lines(_ bytes: ArraySlice<UInt8>) -> String {
    var out = ""
    for line in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
      let line = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
      out += line.split(separator: 9, omittingEmptySubsequences: false)
        .map { Escaping.terminal($0) }.joined(separator: "\t")
      out += "\n"
    }
    if bytes.isEmpty || bytes.last == UInt8(ascii: "\n") { out.removeLast() }
    return out
  }

  // MARK: JSON

  /// The `list --json` object with the decoded fields, every header field as it stands, the parts, and the text of the text parts.
  var json: JSONLine {
    let structure = MIMEStructure(message, header: header)
    var line = entry.json
    if let quarantine { line.add("quarantine", quarantine.json) }
    if !failures.isEmpty { line.add("failures", bytes: failures) }
    line.add(header)
    line.add(
      "header",
      header.fields.map { field in
        var object = JSONLine()
        object.add("name", bytes: Array(header.bytes[field.name]))
        object.add("value", bytes: header.value(field))
        return object
      })
    var room = Self.longestText
    line.add(
      "parts",
      structure.parts.map { part in
        var object = JSONLine()
        object.add("number", part.number)
        object.add("type", part.type)
        if let name = part.name { object.add("name", name) } else { object.addNull("name") }
        object.add("size", part.body.count)
        object.add("attachment", part.isAttachment)
        if part.isText, !part.isAttachment {
          var start = part
          start.body = part.body.prefix(min(room * 4, part.body.count))
          let text = start.text(in: message)
          let shown =
            text.utf8.count > room ? String(decoding: text.utf8.prefix(room), as: UTF8.self) : text
          object.add("text", shown)
          object.add("cut", text.utf8.count > room || start.body.count < part.body.count)
          room -= min(text.utf8.count, room)
        }
        return object
      })
    return line
  }
}
