/// One field of a journal entry. The name comes from a closed list, so none that journald would drop can be written;
/// the value may be any bytes: it travels in an iovec of its own, where a newline or `PRIORITY=0` is only content.
public struct JournalField: Sendable, Hashable {
  public var name: Name
  public var value: [UInt8]

  /// - Parameter value: cut at `Journal.valueLimit` when it is sent.
  public init(_ name: Name, bytes value: some Collection<UInt8>) {
    self.name = name
    self.value = Array(value)
  }

  public init(_ name: Name, _ value: String) { self.init(name, bytes: value.utf8) }

  public init(_ name: Name, _ value: Int) { self.init(name, String(value)) }

  /// The fields of qwarden's entries, a stable contract. A field may appear more than once (several offenders).
  public enum Name: String, Sendable, Hashable, CaseIterable {
    /// Number of the incident in the ledger.
    case incident = "QWARDEN_INCIDENT"
    /// Storm kind, such as `relay-sender`.
    case kind = "QWARDEN_KIND"
    /// `sender`, `client`, `user`, `uid` or `sender-domain`.
    case offenderType = "QWARDEN_OFFENDER_TYPE"
    case offender = "QWARDEN_OFFENDER"
    /// A flooded or forged address or domain.
    case victim = "QWARDEN_VICTIM"
    /// `alert`, `block` or `quarantine`.
    case action = "QWARDEN_ACTION"
    /// `observe` or `enforce`.
    case mode = "QWARDEN_MODE"
    /// How many messages.
    case messages = "QWARDEN_MESSAGES"
    /// Why, in one line.
    case reason = "QWARDEN_REASON"
    /// When a block expires, ISO 8601.
    case until = "QWARDEN_UNTIL"
    /// Number of a queue entry.
    case id = "QWARDEN_ID"
    /// The file or directory it is about.
    case path = "QWARDEN_PATH"
  }
}
