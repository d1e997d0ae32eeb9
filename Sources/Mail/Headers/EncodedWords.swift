/// RFC 2047: `=?charset?Q?text?=` and `=?charset?B?text?=` in header fields.
public enum EncodedWords {
  /// The value as UTF-8: encoded words decoded, blanks between two of them dropped, and neighbours in one charset joined before they
  /// are read (mailers cut characters in two). A word that is broken or in a charset not known stays as it is.
  ///
  /// Bytes outside words that are not UTF-8 are read as Latin-1; searches that mean the bytes look at the raw value too.
  public static func decode(_ value: [UInt8]) -> [UInt8] {
    guard value.contains(where: { $0 == UInt8(ascii: "=") || $0 >= 0x80 }) else { return value }
    var out: [UInt8] = []
    var at = 0
    var plain = 0
    var held: (charset: Charset, bytes: [UInt8])?
    func flush() {
      if let word = held { out += word.charset.text(word.bytes).utf8 }
      held = nil
    }
    while at < value.count {
      guard value[at] == UInt8(ascii: "="), let word = Word(value, at: at) else {
        at += 1
        continue
      }
      let between = value[plain..<at]
      if held == nil || !between.allSatisfy(isBlank) {
        flush()
        appendText(between, to: &out)
      }
      if held?.charset == word.charset {
        held?.bytes += word.bytes
      } else {
        flush()
        held = (word.charset, word.bytes)
      }
      at = word.end
      plain = at
    }
    flush()
    appendText(value[plain...], to: &out)
    return out
  }

  private static func appendText(_ bytes: ArraySlice<UInt8>, to out: inout [UInt8]) {
    if bytes.allSatisfy({ $0 < 0x80 }) { out += bytes } else { out += Text.decode(bytes).utf8 }
  }

  private struct Word {
    let charset: Charset
    let bytes: [UInt8]
    let end: Int

    /// Stops at the first byte that no encoded word can hold, so each byte is looked at a few times at most.
    init?(_ value: [UInt8], at start: Int) {
      func mark(_ from: Int) -> Int? {
        var at = from
        while at < value.count, value[at] != UInt8(ascii: "?") {
          if value[at] < 33 || value[at] > 126 { return nil }
          at += 1
        }
        return at < value.count ? at : nil
      }
      guard start + 1 < value.count, value[start + 1] == UInt8(ascii: "?"),
        let charsetEnd = mark(start + 2), charsetEnd + 2 < value.count,
        value[charsetEnd + 2] == UInt8(ascii: "?")
      else { return nil }
      // RFC 2231 lets a language follow: utf-8*de.
      let name = value[(start + 2)..<charsetEnd].prefix { $0 != UInt8(ascii: "*") }
      guard let charset = Charset(name) else { return nil }
      let text = charsetEnd + 3
      let encoding = value[charsetEnd + 1].asciiLowercased
      // Blanks are not allowed in Q text, and yet some mailers leave them there.
      var stop = text
      while stop < value.count, value[stop] != UInt8(ascii: "?") {
        if value[stop] < 32 || encoding == UInt8(ascii: "b") && value[stop] == 32 { return nil }
        stop += 1
      }
      guard stop + 1 < value.count, value[stop + 1] == UInt8(ascii: "=") else { return nil }
      switch encoding {
      case UInt8(ascii: "b"):
        guard let decoded = TransferEncoding.base64(value[text..<stop], skipping: false) else {
          return nil
        }
        bytes = decoded
      case UInt8(ascii: "q"):
        guard let decoded = Self.decodeQ(value[text..<stop]) else { return nil }
        bytes = decoded
      default: return nil
      }
      self.charset = charset
      end = stop + 2
    }

    private static func decodeQ(_ text: ArraySlice<UInt8>) -> [UInt8]? {
      var out: [UInt8] = []
      var at = text.startIndex
      while at < text.endIndex {
        switch text[at] {
        case UInt8(ascii: "_"): out.append(UInt8(ascii: " "))
        case UInt8(ascii: "="):
          guard at + 2 < text.endIndex, let high = text[at + 1].hexadecimal,
            let low = text[at + 2].hexadecimal
          else { return nil }
          out.append(high << 4 | low)
          at += 2
        default: out.append(text[at])
        }
        at += 1
      }
      return out
    }
  }
}
