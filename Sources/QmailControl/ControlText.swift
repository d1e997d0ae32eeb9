/// The lines of a control file as qmail sees them (control.c).
enum ControlText {
  /// A line and where it stands, for messages.
  struct Line: Hashable {
    var number: Int
    var bytes: ArraySlice<UInt8>
  }

  /// control_readfile(): trailing blanks and tabs cut, empty lines and comments left out; a NUL splits a line in two.
  static func lines(_ file: [UInt8]) -> [Line] {
    var lines: [Line] = []
    for (index, raw) in file.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
      .enumerated()
    {
      let line = trimmed(raw)
      guard let first = line.first, first != UInt8(ascii: "#"), first != 0 else { continue }
      for part in line.split(separator: 0) { lines.append(Line(number: index + 1, bytes: part)) }
    }
    return lines
  }

  /// control_readline(): the first line, trailing blanks and tabs cut; comments mean nothing here.
  static func firstLine(_ file: [UInt8]) -> ArraySlice<UInt8> {
    trimmed(file.prefix { $0 != UInt8(ascii: "\n") })
  }

  /// Without the trailing blanks and tabs that qmail cuts. A CR is not one of them.
  static func trimmed(_ line: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    var line = line
    while let last = line.last, last == UInt8(ascii: " ") || last == UInt8(ascii: "\t") {
      line.removeLast()
    }
    return line
  }
}
