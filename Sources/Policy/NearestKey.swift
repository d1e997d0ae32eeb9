/// What a mistyped word was meant to be.
enum NearestKey {
  /// The known word within two slips (a third of the length for short ones), or nil. `_` and capitals count as no slip.
  static func of(_ word: String, among known: [String]) -> String? {
    guard word.utf8.count <= 64 else { return nil }
    let wanted = plain(word)
    let ranked = unique(known).map { (distance(wanted, plain($0)), $0) }
    guard let best = ranked.min(by: { $0.0 < $1.0 }) else { return nil }
    return best.0 <= max(1, min(2, best.1.count / 3)) ? best.1 : nil
  }

  static func unique(_ words: [String]) -> [String] {
    words.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
  }

  private static func plain(_ word: String) -> [Character] {
    word.lowercased().map { $0 == "_" || $0 == " " ? "-" : $0 }
  }

  /// Insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
  private static func distance(_ a: [Character], _ b: [Character]) -> Int {
    var rows = [Array(0...b.count)]
    for i in a.indices {
      var row = [i + 1]
      for j in b.indices {
        var best = min(rows[i][j + 1] + 1, row[j] + 1, rows[i][j] + (a[i] == b[j] ? 0 : 1))
        if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] {
          best = min(best, rows[i - 1][j - 1] + 1)
        }
        row.append(best)
      }
      rows.append(row)
    }
    return rows[a.count][b.count]
  }
}
