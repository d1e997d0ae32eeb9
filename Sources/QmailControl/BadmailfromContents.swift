import Mail

/// badmailfrom as it was read.
public struct BadmailfromContents: Sendable, Hashable {
  /// qwarden's own lines, in file order, recognised by their tags alone.
  public let ownLines: [OwnLine]
  /// What an administrator should know, each with the line it is about.
  public let notes: [String]

  private let adminLines: [ControlText.Line]
  private let dialect: BadmailfromDialect?

  init(_ bytes: [UInt8], path: String, dialect: BadmailfromDialect?) {
    let text = BadmailfromText(bytes)
    ownLines = text.ownLines
    adminLines = ControlText.lines(text.adminBytes)
    self.dialect = dialect
    let cr = adminLines.filter { $0.bytes.last == UInt8(ascii: "\r") }
    notes =
      cr.isEmpty
      ? []
      : [
        "\(path): \(cr.count) of \(adminLines.count) entries end in CR (DOS line ends), "
          + "so qmail-smtpd never matches them"
      ]
  }

  /// Whether the administrator's own lines already block this sender. Sure when true; false may mean "cannot tell": patterns are
  /// not evaluated.
  public func adminBlocks(_ sender: Address) -> Bool {
    let sender = sender.lowercased
    guard !sender.isNull else { return false }
    if dialect == .regex {
      let entries = [sender, Address(sender.bytes[sender.localPart.endIndex...])].compactMap {
        try? BadmailfromDialect.regex.entry(for: $0)
      }
      return adminLines.contains { line in
        entries.contains { Self.isEqual(line.bytes, $0[...]) }
      }
    }
    // Exact and @host are common to all the others (bmfcheck() in qmail-smtpd.c).
    let host = sender.bytes[sender.localPart.endIndex...]
    return adminLines.contains {
      Self.isEqual($0.bytes, sender.bytes[...]) || (host.count > 1 && Self.isEqual($0.bytes, host))
    }
  }

  private static func isEqual(_ line: ArraySlice<UInt8>, _ lowered: ArraySlice<UInt8>) -> Bool {
    line.count == lowered.count && zip(line, lowered).allSatisfy { $0.asciiLowercased == $1 }
  }
}
