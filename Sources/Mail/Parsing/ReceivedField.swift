/// The `Received:` lines at the start of a message in the queue: the first by qmail-queue (qmail-queue.c, `receivedfmt`), and the second by
/// qmail-smtpd or its kin (received.c), which is trustworthy only when the first says `from network`.
struct ReceivedField {
  var source = Source.unknown
  var pid: Int?

  /// - Parameter start: where the message begins.
  init(_ bytes: Span<UInt8>, at start: Int) {
    // Received: (qmail 13274 invoked from network); 23 Nov 2026 17:41:03 -0000
    guard bytes.has("Received: (qmail ", at: start) else { return }
    var at = start + 17
    guard let blank = bytes.firstIndex(of: UInt8(ascii: " "), from: at), blank - at <= 19,
      let pid = bytes.number(at..<blank), bytes.has(" invoked ", at: blank)
    else { return }
    at = blank + 9
    if bytes.has("from network);", at: at) {
      self.pid = pid
      source = .network(client: "unknown", helo: nil, user: nil)
      if let end = bytes.firstIndex(of: newline, from: at) { readSecond(bytes, at: end + 1) }
    } else if bytes.has("for bounce);", at: at) {
      self.pid = pid
      source = .bounce(original: nil)
    } else if bytes.has("by alias);", at: at) {
      self.pid = pid
      source = .alias
    } else if bytes.has("by uid ", at: at),
      let close = bytes.firstIndex(of: UInt8(ascii: ")"), from: at), close - at <= 26,
      let uid = bytes.number((at + 7)..<close), let uid = UInt32(exactly: uid)
    {
      self.pid = pid
      source = .uid(uid)
    }
  }

  /// `Received: from HOST (HELO h) (user@IP)`: qmail has replaced blanks and parentheses inside the parts.
  private mutating func readSecond(_ bytes: Span<UInt8>, at start: Int) {
    guard bytes.has("Received: from ", at: start),
      let end = bytes.firstIndex(of: newline, from: start)
    else { return }
    var stop = end
    if bytes[stop - 1] == UInt8(ascii: "\r") { stop -= 1 }
    guard bytes[stop - 1] == UInt8(ascii: ")") else { return }
    var open = stop - 1
    var at: Int?
    while open > start, bytes[open] != UInt8(ascii: "(") {
      if at == nil, bytes[open] == UInt8(ascii: "@") { at = open }
      open -= 1
    }
    guard open > start + 15, bytes[open - 1] == UInt8(ascii: " ") else { return }
    let address = ((at ?? open) + 1)..<(stop - 1)
    guard !address.isEmpty else { return }
    var helo: String?
    let hostEnd = bytes.firstIndex(of: UInt8(ascii: " "), from: start + 15) ?? stop
    if hostEnd < open - 1, bytes.has(" (HELO ", at: hostEnd), bytes[open - 2] == UInt8(ascii: ")") {
      helo = Text.decode(bytes.copied((hostEnd + 7)..<(open - 2)))
    }
    source = .network(
      client: Text.decode(bytes.copied(address)), helo: helo,
      user: at.map { Text.decode(bytes.copied((open + 1)..<$0)) })
  }
}
