/// qmail-send's bounce (qmail-send.c, `injectbounce`; the QSBMF format): `<recipient>:` paragraphs, a line that says that a copy follows, an empty
/// line, `Return-Path: <original sender>` and the original message as it stood in the queue.
///
/// Remote servers write into the reports, but no report can hold an empty line (see ``BounceFile``), so a forged copy line, which would
/// need empty lines around it, is not believed.
enum FailureNotice {
  enum Reading {
    case found(Source.Origin)
    /// The bytes ended before the copy; what was known by then.
    case cut(Source.Origin?)
    /// Not the form that qmail-send writes.
    case none
  }

  /// A double bounce holds a bounce that holds a message; more than this is nobody's mail.
  private static let deepest = 4

  /// - Parameter body: where the bounce's body begins.
  static func origin(_ bytes: Span<UInt8>, body: Int) -> Reading {
    var body = body
    var known: Source.Origin?
    for _ in 0..<deepest {
      let (failed, copy) = paragraphs(bytes, from: body)
      guard let copy else {
        return isNotice(bytes, at: body) || body >= bytes.count
          ? .cut(known) : known.map { .found($0) } ?? .none
      }
      guard let (sender, message) = returnPath(bytes, at: copy) else { return .cut(known) }
      let first = ReceivedField(bytes, at: message)
      guard first.source.isBounce else {
        let origin = Source.Origin(sender: sender, source: first.source, failedRecipients: failed)
        // The second Received line may be cut off; then more bytes tell more.
        return isCut(first.source, bytes, message) ? .cut(origin) : .found(origin)
      }
      known = Source.Origin(sender: sender, source: .unknown, failedRecipients: failed)
      guard let inner = HeaderFields(bytes, at: message).body else { return .cut(known) }
      body = inner
    }
    return known.map { .found($0) } ?? .none
  }

  private static func isNotice(_ bytes: Span<UInt8>, at body: Int) -> Bool {
    bytes.has("Hi. This is the qmail-send program at ", at: body)
  }

  /// Whether the first two lines of the copy do not end within the bytes.
  private static func isCut(_ source: Source, _ bytes: Span<UInt8>, _ message: Int) -> Bool {
    guard let end = bytes.firstIndex(of: newline, from: message) else { return true }
    guard case .network("unknown", nil, nil) = source else { return false }
    return bytes.firstIndex(of: newline, from: end + 1) == nil
  }

  /// Counts `<recipient>:` paragraphs up to the copy; `copy` is where its Return-Path line should be.
  private static func paragraphs(_ bytes: Span<UInt8>, from body: Int) -> (failed: Int, copy: Int?)
  {
    var failed = 0
    var line = body
    var isParagraphStart = true
    while let end = bytes.firstIndex(of: newline, from: line) {
      if isParagraphStart {
        if bytes[line] == UInt8(ascii: "<"), end - line >= 3, bytes[end - 1] == UInt8(ascii: ":"),
          bytes[end - 2] == UInt8(ascii: ">")
        {
          failed += 1
        } else if bytes.has("--- Below this line is a copy of the message.\n\n", at: line)
          || bytes.has("--- Below this line is the original bounce.\n\n", at: line)
        {
          return (failed, end + 2)
        }
      }
      isParagraphStart = end == line
      line = end + 1
    }
    return (failed, nil)
  }

  /// Reads `Return-Path: <address>\n`, where qmail has quoted the address (quote.c, `quote2`).
  private static func returnPath(_ bytes: Span<UInt8>, at start: Int) -> (Address, message: Int)? {
    guard bytes.has("Return-Path: <", at: start) else { return nil }
    var address: [UInt8] = []
    var isQuoted = false
    var at = start + 14
    while at < bytes.count {
      let byte = bytes[at]
      if isQuoted {
        if byte == UInt8(ascii: "\\") {
          at += 1
          if at < bytes.count { address.append(bytes[at]) }
        } else if byte == UInt8(ascii: "\"") {
          isQuoted = false
        } else {
          address.append(byte)
        }
      } else if byte == UInt8(ascii: "\""), address.isEmpty {
        isQuoted = true
      } else if byte == newline {
        guard address.last == UInt8(ascii: ">") else { return nil }
        address.removeLast()
        return (Address(address), at + 1)
      } else {
        address.append(byte)
      }
      at += 1
    }
    return nil
  }
}
