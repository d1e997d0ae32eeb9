/// What Content-Type and Content-Disposition say of a part, in the terms of RFC 2045, 2183 and 2231.
struct ContentFields {
  private static let longestBoundary = 200
  private static let mostParameters = 50

  var type = "text/plain"
  var name: String?
  var charset: Charset?
  var boundary: [UInt8]?
  var isAttachment = false

  init(_ header: MessageHeader) {
    if let value = header.first("content-type") {
      let (type, parameters) = Self.parse(value)
      if type.contains("/") { self.type = type }
      charset = parameters["charset"].flatMap { Charset($0) }
      name = parameters["name"].map(Self.text)
      if self.type.hasPrefix("multipart/") {
        boundary = parameters["boundary"].flatMap {
          $0.isEmpty || $0.count > Self.longestBoundary ? nil : $0
        }
      }
    }
    if let value = header.first("content-disposition") {
      let (kind, parameters) = Self.parse(value)
      isAttachment = kind == "attachment"
      name = parameters["filename"].map(Self.text) ?? name
    }
  }

  private static func text(_ value: [UInt8]) -> String {
    String(decoding: EncodedWords.decode(value), as: UTF8.self)
  }

  /// The value before the first `;`, lower-cased, and the parameters by lower-cased name; pieces (`name*0`, `name*1*`) joined, and
  /// percent encoding of RFC 2231 undone. The first of two parameters of one name wins.
  private static func parse(_ value: [UInt8]) -> (String, [String: [UInt8]]) {
    var at = value.firstIndex(of: UInt8(ascii: ";")) ?? value.count
    let kind = lowered(value[..<at])
    var plain: [String: [UInt8]] = [:]
    var pieces: [(name: String, index: Int, isEncoded: Bool, value: [UInt8])] = []
    while at < value.count, plain.count + pieces.count < mostParameters {
      at += 1
      let nameStart = at
      while at < value.count, value[at] != UInt8(ascii: "="), value[at] != UInt8(ascii: ";") {
        at += 1
      }
      let name = lowered(value[nameStart..<at])
      guard at < value.count, value[at] == UInt8(ascii: "=") else { continue }
      let (text, next) = parameterValue(value, at + 1)
      at = next
      let words = name.split(separator: "*", omittingEmptySubsequences: false)
      if words.count == 1 {
        if plain[name] == nil { plain[name] = text }
      } else {
        let isEncoded = name.hasSuffix("*")
        pieces.append((String(words[0]), Int(words[1]) ?? 0, isEncoded, text))
      }
    }
    for (name, group) in Dictionary(grouping: pieces, by: \.name) {
      let ordered = group.sorted { $0.index < $1.index }
      var charset: Charset?
      var joined: [UInt8] = []
      for (place, piece) in ordered.enumerated() {
        var text = piece.value[...]
        if place == 0, piece.isEncoded {
          let quotes = text.indices.filter { text[$0] == UInt8(ascii: "'") }
          if quotes.count >= 2 {
            charset = Charset(text[..<quotes[0]])
            text = text[(quotes[1] + 1)...]
          }
        }
        joined += piece.isEncoded ? unescaped(text) : Array(text)
      }
      if let charset { joined = Array(charset.text(joined).utf8) }
      plain[name] = joined
    }
    return (kind, plain)
  }

  /// A quoted string or a token from `start`; and where the next `;` stands.
  private static func parameterValue(_ value: [UInt8], _ start: Int) -> ([UInt8], Int) {
    var at = start
    while at < value.count, isBlank(value[at]) { at += 1 }
    var out: [UInt8] = []
    if at < value.count, value[at] == UInt8(ascii: "\"") {
      at += 1
      while at < value.count, value[at] != UInt8(ascii: "\"") {
        if value[at] == UInt8(ascii: "\\"), at + 1 < value.count { at += 1 }
        out.append(value[at])
        at += 1
      }
      while at < value.count, value[at] != UInt8(ascii: ";") { at += 1 }
    } else {
      while at < value.count, value[at] != UInt8(ascii: ";") {
        out.append(value[at])
        at += 1
      }
      while let last = out.last, isBlank(last) { out.removeLast() }
    }
    return (out, at)
  }

  private static func unescaped(_ text: ArraySlice<UInt8>) -> [UInt8] {
    var out: [UInt8] = []
    var at = text.startIndex
    while at < text.endIndex {
      if text[at] == UInt8(ascii: "%"), at + 2 < text.endIndex, let high = text[at + 1].hexadecimal,
        let low = text[at + 2].hexadecimal
      {
        out.append(high << 4 | low)
        at += 3
      } else {
        out.append(text[at])
        at += 1
      }
    }
    return out
  }

  private static func lowered(_ bytes: ArraySlice<UInt8>) -> String {
    String(decoding: bytes.lazy.filter { !isBlank($0) }.map { $0.asciiLowercased }, as: UTF8.self)
  }
}
