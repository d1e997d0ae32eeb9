/// The addresses in a From, To or Cc field: what stands in angle brackets, and bare words with an `@`.
///
/// For searching, not for delivery: quoted names and comments are passed over, groups are not resolved. Linear, total.
public enum HeaderAddresses {
  /// - Parameter value: the unfolded field, decoded or not.
  public static func find(in value: [UInt8]) -> [ArraySlice<UInt8>] {
    var found: [ArraySlice<UInt8>] = []
    var start = 0
    var at = 0
    func bare(_ end: Int) {
      if start < end, value[start..<end].contains(UInt8(ascii: "@")) {
        found.append(value[start..<end])
      }
    }
    while at < value.count {
      switch value[at] {
      case UInt8(ascii: "\""):
        at += 1
        while at < value.count, value[at] != UInt8(ascii: "\"") {
          at += value[at] == UInt8(ascii: "\\") ? 2 : 1
        }
        // A quoted local part belongs to its address: "a b"@host.
        if at + 1 < value.count, value[at + 1] == UInt8(ascii: "@") {
          at += 1
          continue
        }
        start = min(at + 1, value.count)
      case UInt8(ascii: "("):
        bare(at)
        var depth = 1
        while depth > 0, at + 1 < value.count {
          at += 1
          if value[at] == UInt8(ascii: "(") { depth += 1 }
          if value[at] == UInt8(ascii: ")") { depth -= 1 }
        }
        start = at + 1
      case UInt8(ascii: "<"):
        var end = at + 1
        while end < value.count, value[end] != UInt8(ascii: ">") { end += 1 }
        found.append(value[(at + 1)..<end])
        at = end
        start = min(at + 1, value.count)
      case UInt8(ascii: ","), UInt8(ascii: ";"), UInt8(ascii: ":"), UInt8(ascii: " "),
        UInt8(ascii: "\t"):
        bare(at)
        start = at + 1
      default: break
      }
      at += 1
    }
    bare(value.count)
    return found
  }
}
