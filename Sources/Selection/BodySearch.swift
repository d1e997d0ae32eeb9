import Mail

/// Looks for the body conditions in a message's body while it is read: in the bytes as they stand, and in its text parts decoded.
///
/// Memory is bounded: the bytes are searched as they pass, and decoded text is looked at in the first 4 MiB of the message.
public final class BodySearch {
  private static let decodedLimit = 4 << 20
  private let patterns: [Pattern]
  private let searches: [Pattern.Search]
  private let header: MessageHeader
  private let mayBeEncoded: Bool
  /// The message's beginning, header included; only where it may hold encoded text.
  private var kept: [UInt8]

  init(_ patterns: [Pattern], _ header: MessageHeader) {
    self.patterns = patterns
    searches = patterns.map { $0.search() }
    self.header = header
    mayBeEncoded = header.fields.contains {
      header.isNamed($0, "content-type".utf8)
        || header.isNamed($0, "content-transfer-encoding".utf8)
    }
    kept = mayBeEncoded ? header.bytes : []
  }

  /// Goes on with the next piece of the body.
  /// - Returns: false when every condition holds already: no more need be read.
  public func take(_ piece: Span<UInt8>) -> Bool {
    for search in searches { search.take(piece) }
    if searches.allSatisfy(\.isFound) { return false }
    if mayBeEncoded, kept.count < Self.decodedLimit {
      piece.extracting(..<min(piece.count, Self.decodedLimit - kept.count))
        .withUnsafeBufferPointer { kept += $0 }
    }
    return true
  }

  /// The body ends here.
  /// - Returns: whether every condition holds.
  public func finish() -> Bool {
    for search in searches { search.finish() }
    let open = searches.indices.filter { !searches[$0].isFound }
    guard !open.isEmpty, mayBeEncoded else { return open.isEmpty }
    let texts = MIMEStructure(kept, header: header).parts.lazy
      .filter { $0.isText && ($0.encoding != .plain || $0.charset.map { $0 != .utf8 } ?? false) }
      .map { Array($0.text(in: self.kept).utf8) }
    var missing = Set(open)
    for text in texts {
      missing = missing.filter { !patterns[$0].matchesWithin(text) }
      if missing.isEmpty { return true }
    }
    return false
  }
}

extension Selection {
  /// A search for the body conditions; nil when there are none.
  public func bodySearch(_ header: MessageHeader) -> BodySearch? {
    needsBody ? BodySearch(bodies, header) : nil
  }
}
