import Mail

/// What qmail-send writes of failures: paragraphs in `bounce/ID`, and the notice made of them (QSBMF).
enum BounceText {
  private static let newline = UInt8(ascii: "\n")

  /// addbounce: blank lines inside a report are broken, so that it stays one paragraph.
  static func paragraph(about recipient: Address, _ report: [UInt8]) -> [UInt8] {
    var text = [UInt8(ascii: "<")]
    text += recipient.bytes.map { $0 == newline ? UInt8(ascii: "_") : $0 }
    text += Array(">:\n".utf8) + report
    if let last = report.last, last != newline { text.append(newline) }
    for at in stride(from: text.count - 2, to: 0, by: -1)
    where text[at] == newline && text[at - 1] == newline { text[at] = UInt8(ascii: "/") }
    return text + [newline]
  }

  /// The text of a bounce or, for a null sender, of a double bounce (QSBMF).
  static func notice(
    by controls: SimulatedControls, to recipient: Address, about sender: Address,
    _ reports: [UInt8], _ original: [UInt8], at now: Timestamp
  ) -> [UInt8] {
    let from = quoted(Address(controls.bounceFrom + "@" + controls.bounceHost))
    var bytes = Array("Date: \(now.mailDate)\nFrom: ".utf8) + from + Array("\nTo: ".utf8)
    bytes += quoted(recipient)
    bytes += Array(
      """
      \nSubject: failure notice

      Hi. This is the qmail-send program at \(controls.bounceHost).\n
      """.utf8)
    bytes += Array(
      (sender.isNull
        ? "I tried to deliver a bounce message to this address, but the bounce bounced!\n\n"
        : """
        I'm afraid I wasn't able to deliver your message to the following addresses.
        This is a permanent error; I've given up. Sorry it didn't work out.\n\n
        """).utf8)
    bytes += reports
    bytes += Array(
      "--- Below this line is \(sender.isNull ? "the original bounce" : "a copy of the message").\n\n"
        .utf8)
    bytes += Array("Return-Path: <".utf8)
    bytes += quoted(sender)
    bytes += Array(">\n".utf8)
    return bytes + original
  }

  /// quote.c: the local part in quotes where it holds more than atoms and single inner dots.
  private static func quoted(_ address: Address) -> [UInt8] {
    let bytes = address.bytes
    guard !bytes.isEmpty else { return [] }
    let local = Array(address.localPart)
    let special = Set("()<>@,;:\\\"[]".utf8)
    let dot = UInt8(ascii: ".")
    let isPlain =
      !local.isEmpty && local.allSatisfy { $0 > 32 && $0 < 127 && !special.contains($0) }
      && local.first != dot && local.last != dot
      && !zip(local, local.dropFirst()).contains { $0 == dot && $1 == dot }
    if isPlain { return bytes }
    let quote = UInt8(ascii: "\"")
    let escaped = local.flatMap { (byte: UInt8) -> [UInt8] in
      byte == 13 || byte == 10 || byte == 92 || byte == quote ? [92, byte] : [byte]
    }
    return [quote] + escaped + [quote] + Array(bytes[local.count...])
  }
}
