import Mail

/// badmailfrom as it was read.
public struct BadmailfromContents: Sendable, Hashable {
  /// qwarden's own lines, in file order, recognised by their tags alone.
  public let ownLines: [OwnLine]
  /// What an administrator should know, each with the line it is about.
  public let notes: [String]

  init(_ bytes: [UInt8], path: String) {
    let text = BadmailfromText(bytes)
    ownLines = text.ownLines
    let adminLines = ControlText.lines(text.adminBytes)
    let cr = adminLines.filter { $0.bytes.last == UInt8(ascii: "\r") }
    notes =
      cr.isEmpty
      ? []
      : [
        "\(path): \(cr.count) of \(adminLines.count) entries end in CR (DOS line ends), "
          + "so qmail-smtpd never matches them"
      ]
  }
}
