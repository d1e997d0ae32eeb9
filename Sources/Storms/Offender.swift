import Mail

/// Who is behind a storm.
public enum Offender: Hashable, Sendable {
  case sender(Address)
  case user(String)
  case client(String)
  case uid(UInt32)
  case senderDomain(Domain)

  /// The `type` of the JSON contract.
  public var type: String {
    switch self {
    case .sender: "sender"
    case .user: "user"
    case .client: "client"
    case .uid: "uid"
    case .senderDomain: "sender-domain"
    }
  }

  /// The value as text for machine-readable output.
  public var value: String {
    switch self {
    case .sender(let address): Text.decode(address.bytes)
    case .user(let user): user
    case .client(let client): client
    case .uid(let uid): String(uid)
    case .senderDomain(let domain): domain.text
    }
  }

  /// `{"type":…,"value":…}`, as every command writes it.
  public var json: JSONLine {
    var line = JSONLine()
    line.add("type", type)
    line.add("value", value)
    return line
  }
}
