import Mail

/// badmailfrom taken apart into the administrator's lines and qwarden's, and put together again.
///
/// qwarden's lines stand in one section:
/// ```
/// # qwarden begin
/// # qwarden: joe@v.test until 2026-11-24T03:10:00Z, incident 12: relay-sender
/// joe@v.test
/// # qwarden end
/// ```
/// A line belongs to qwarden when it is one of these comments, or when it is the entry that the tag before it announces and
/// nothing but the administrator's lines stand between the tag and qwarden's next comment. Everything else, wherever it
/// stands, is the administrator's and is kept byte for byte and in order. Deleting a tag makes its entry the administrator's.
///
/// When the file does not end in a newline one is needed before the section; `# qwarden begin, newline added after HASH`
/// remembers that, so that taking the section out restores the last byte too. The hash of the line before tells
/// whether it is still that line.
struct BadmailfromText {
  /// The administrator's bytes before and after the place where qwarden's section stands (or would).
  private(set) var before: [UInt8] = []
  private(set) var after: [UInt8] = []
  /// Tags whose entry is there too, in the order of the entries.
  private(set) var ownLines: [OwnLine] = []
  /// What the newline in front of the section was added after; nil when it is the administrator's own.
  private var newlineAddedAfter: String?

  private static let begin = "# qwarden begin"
  private static let added = ", newline added after "
  private static let end = "# qwarden end"

  init(_ bytes: [UInt8]) {
    let lines = Self.lines(bytes)
    var isOwn = [Bool](repeating: false, count: lines.count)
    var announced: (at: Int, line: OwnLine)?
    var candidate: (at: Int, line: OwnLine)?
    for (index, raw) in lines.enumerated() {
      // An administrator's editor may have put a CR or blanks after our lines; they are ours all the same.
      let line = Self.content(raw)
      let mark = Self.newlineMark(line)
      let tag = OwnLine(tag: line)
      if line.elementsEqual(Self.end.utf8) || line.elementsEqual(Self.begin.utf8) || mark != nil
        || tag != nil
      {
        // The next own comment confirms a candidate that does not touch its tag.
        if let candidate {
          isOwn[candidate.at] = true
          ownLines.append(candidate.line)
        }
        isOwn[index] = true
        candidate = nil
        announced = tag.map { (index, $0) }
        if let mark, newlineAddedAfter == nil { newlineAddedAfter = mark }
      } else if let tag = announced, candidate == nil, Self.isEntry(line, of: tag.line.sender) {
        if index == tag.at + 1 {
          isOwn[index] = true
          ownLines.append(tag.line)
          announced = nil
        } else {
          candidate = (index, tag.line)
        }
      }
    }
    let place = isOwn.firstIndex(of: true) ?? lines.count
    for (index, line) in lines.enumerated() where !isOwn[index] {
      if index < place { before += line } else { after += line }
    }
    if let mark = newlineAddedAfter, mark != Self.hash(of: before) { newlineAddedAfter = nil }
  }

  /// The administrator's bytes as they are without qwarden.
  var adminBytes: [UInt8] {
    // Once lines of the administrator's follow, the newline is needed.
    if newlineAddedAfter != nil, after.isEmpty { return before.dropLast() }
    return before + after
  }

  /// The file with these lines as qwarden's.
  func replacing(_ lines: [(line: OwnLine, entry: [UInt8])]) -> [UInt8] {
    guard !lines.isEmpty else { return adminBytes }
    let newline = [UInt8(ascii: "\n")]
    var bytes = before
    var first = Self.begin
    if let mark = newlineAddedAfter {
      first += Self.added + mark
    } else if let last = bytes.last, last != newline[0] {
      bytes += newline
      first += Self.added + Self.hash(of: bytes)
    }
    bytes += Array(first.utf8) + newline
    for (line, entry) in lines { bytes += line.tag + newline + entry + newline }
    return bytes + Array(Self.end.utf8) + newline + after
  }

  /// Lines with their newline.
  private static func lines(_ bytes: [UInt8]) -> [ArraySlice<UInt8>] {
    var lines: [ArraySlice<UInt8>] = []
    var start = 0
    for (index, byte) in bytes.enumerated() where byte == UInt8(ascii: "\n") {
      lines.append(bytes[start...index])
      start = index + 1
    }
    if start < bytes.count { lines.append(bytes[start...]) }
    return lines
  }

  private static func content(_ line: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    var line = line
    while let last = line.last, [10, 13, 32, 9].contains(last) { line.removeLast() }
    return line
  }

  private static func isEntry(_ line: ArraySlice<UInt8>, of sender: Address) -> Bool {
    // In any dialect: the server may have been changed since.
    BadmailfromDialect.allCases.contains { dialect in
      (try? dialect.entry(for: sender))?.elementsEqual(line) ?? false
    }
  }

  private static func newlineMark(_ line: ArraySlice<UInt8>) -> String? {
    let start = Array((begin + added).utf8)
    guard line.count == start.count + 8, line.starts(with: start) else { return nil }
    return String(decoding: line.suffix(8), as: UTF8.self)
  }

  /// FNV-1a of the last line, as eight hex digits.
  private static func hash(of bytes: [UInt8]) -> String {
    let body = bytes.last == UInt8(ascii: "\n") ? bytes.dropLast() : bytes[...]
    let start = body.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
    let hash = body[start...].reduce(UInt32(2_166_136_261)) { ($0 ^ UInt32($1)) &* 16_777_619 }
    let digits = String(hash, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
  }
}
