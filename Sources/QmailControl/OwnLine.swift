import Mail

/// One block of qwarden's in badmailfrom: who, and what its tag tells the administrator who opens the file.
public struct OwnLine: Sendable, Hashable {
  /// `local@domain`, or `@domain` for a whole domain.
  public var sender: Address
  /// When qwarden will take it out; nil only when an administrator has mangled the tag.
  public var until: Timestamp?
  public var incident: Int?
  /// The kind of storm, or the administrator's words. Written as printable ASCII, at most 120 characters.
  public var reason: String

  public init(sender: Address, until: Timestamp?, incident: Int? = nil, reason: String) {
    self.sender = sender
    self.until = until
    self.incident = incident
    self.reason = reason
  }
}
