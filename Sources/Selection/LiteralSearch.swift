import Mail

/// Knuth, Morris and Pratt: finds a literal, ASCII case ignored, in time linear in the text whatever it repeats; the text may come in pieces.
struct LiteralSearch: Sendable {
  let wanted: [UInt8]
  private let failure: [Int]

  init(_ text: some Sequence<UInt8>) {
    let wanted: [UInt8] = text.map { $0.asciiLowercased }
    var failure = [Int](repeating: 0, count: wanted.count)
    var matched = 0
    for i in wanted.indices.dropFirst() {
      while matched > 0, wanted[i] != wanted[matched] { matched = failure[matched - 1] }
      if wanted[i] == wanted[matched] { matched += 1 }
      failure[i] = matched
    }
    self.wanted = wanted
    self.failure = failure
  }

  /// Goes on with the next piece. `matched` is 0 before the first one and belongs to one text.
  /// - Returns: true as soon as the literal has been found.
  func take(_ piece: Span<UInt8>, _ matched: inout Int) -> Bool {
    guard !wanted.isEmpty else { return true }
    let wanted = wanted.span
    var state = matched
    for index in piece.indices {
      let byte = piece[index].asciiLowercased
      while state > 0, byte != wanted[state] { state = failure[state - 1] }
      if byte == wanted[state] { state += 1 }
      if state == wanted.count { return true }
    }
    matched = state
    return false
  }
}
