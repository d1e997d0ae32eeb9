/// One part of a message, or the whole where it has no parts: what it is and where it stands, not decoded.
public struct MIMEPart: Sendable, Hashable {
  /// `1`, `2.1`: its place in the message; `0` for the whole of a message that has parts.
  public var number: String
  /// `text/plain`, lower-cased.
  public var type: String
  /// The file's name from Content-Disposition or Content-Type, decoded.
  public var name: String?
  public var charset: Charset?
  public var encoding: TransferEncoding
  public var isAttachment: Bool
  /// Where its bytes stand in the message, as they were sent.
  public var body: Range<Int>

  public var isText: Bool { type.hasPrefix("text/") }

  /// What a reader would see: the bytes decoded, as text where the charset is known, else by ``Text/decode(_:)``.
  public func text(in message: [UInt8]) -> String {
    let decoded = encoding.decode(message[body.clamped(to: 0..<message.count)])
    if let charset, charset != .utf8 { return charset.text(decoded) }
    return Text.decode(decoded)
  }

  init(number: String, header: MessageHeader, fields: ContentFields, body: Range<Int>) {
    self.number = number
    type = fields.type
    name = fields.name
    charset = fields.charset
    encoding = TransferEncoding(header.first("content-transfer-encoding") ?? [])
    isAttachment = fields.isAttachment
    self.body = body
  }
}

/// The parts of a message in their order: multiparts before what is in them. One walk over the lines, in time linear in the message;
/// depth and number of parts are bounded, and what lies deeper is not cut up.
public struct MIMEStructure: Sendable, Hashable {
  private static let deepest = 16
  private static let most = 1000
  private static let longestHeader = 64 * 1024

  public private(set) var parts: [MIMEPart] = []
  /// There are more parts than are counted.
  public private(set) var isCut = false

  private struct Level {
    var boundary: [UInt8]
    var part: Int
    var number: String
    var children = 0
  }

  /// - Parameter header: the message's own header; its body is looked at.
  public init(_ message: [UInt8], header: MessageHeader) {
    guard let start = header.bodyOffset else { return }
    let bytes = message.span
    var levels: [Level] = []
    var leaf: Int?
    add(header, "1", from: start, end: bytes.count, &levels, &leaf)
    guard !levels.isEmpty else { return }
    var line = start
    while line < bytes.count {
      let end = bytes.firstIndex(of: newline, from: line) ?? bytes.count
      defer { line = max(line, end + 1) }
      guard end - line > 2, bytes[line] == UInt8(ascii: "-"), bytes[line + 1] == UInt8(ascii: "-"),
        let (level, isLast) = Self.delimiter(bytes, (line + 2)..<end, levels)
      else { continue }
      // The line's end before a delimiter belongs to the delimiter.
      var stop = max(line - 1, 0)
      if stop > 0, bytes[stop - 1] == UInt8(ascii: "\r") { stop -= 1 }
      if let open = leaf { parts[open].body = Self.range(parts[open].body.lowerBound, stop) }
      leaf = nil
      for inner in levels[(level + 1)...] {
        parts[inner.part].body = Self.range(parts[inner.part].body.lowerBound, stop)
      }
      levels.removeLast(levels.count - level - 1)
      if isLast {
        parts[levels[level].part].body = Self.range(parts[levels[level].part].body.lowerBound, stop)
        levels.removeLast()
        if levels.isEmpty { return }
        continue
      }
      if parts.count >= Self.most {
        isCut = true
        return
      }
      levels[level].children += 1
      let number = levels[level].number + ".\(levels[level].children)"
      let begin = min(end + 1, bytes.count)
      let inner = MessageHeader(
        bytes.extracting(begin..<min(begin + Self.longestHeader, bytes.count)))
      let body = begin + (inner.bodyOffset ?? inner.bytes.count)
      add(inner, number, from: body, end: bytes.count, &levels, &leaf)
      line = body
    }
  }

  private mutating func add(
    _ header: MessageHeader, _ number: String, from start: Int, end: Int, _ levels: inout [Level],
    _ leaf: inout Int?
  ) {
    let fields = ContentFields(header)
    let isWhole = number == "1" && fields.boundary != nil
    let shown = isWhole ? "0" : number.hasPrefix("1.") ? String(number.dropFirst(2)) : number
    parts.append(MIMEPart(number: shown, header: header, fields: fields, body: start..<end))
    if let boundary = fields.boundary, levels.count < Self.deepest {
      levels.append(Level(boundary: boundary, part: parts.count - 1, number: number))
    } else {
      leaf = parts.count - 1
    }
  }

  private static func range(_ start: Int, _ end: Int) -> Range<Int> { start..<max(start, end) }

  /// Which level's delimiter the text after `--` is, innermost first, and whether it is the closing one.
  private static func delimiter(_ bytes: Span<UInt8>, _ text: Range<Int>, _ levels: [Level])
    -> (Int, Bool)?
  {
    var end = text.upperBound
    while end > text.lowerBound, isBlank(bytes[end - 1]) || bytes[end - 1] == UInt8(ascii: "\r") {
      end -= 1
    }
    for index in levels.indices.reversed() {
      let boundary = levels[index].boundary
      let rest = end - text.lowerBound - boundary.count
      guard rest == 0 || rest == 2,
        boundary.indices.allSatisfy({ bytes[text.lowerBound + $0] == boundary[$0] })
      else { continue }
      if rest == 0 { return (index, false) }
      if bytes[end - 1] == UInt8(ascii: "-"), bytes[end - 2] == UInt8(ascii: "-") {
        return (index, true)
      }
    }
    return nil
  }
}
