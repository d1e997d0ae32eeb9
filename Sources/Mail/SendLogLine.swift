/// One line of qmail-send's log without its time stamp (qmail-log(5)).
public enum SendLogLine: Hashable, Sendable {
  case new(id: UInt64)
  case info(id: UInt64, bytes: Int64, sender: Address, pid: Int, uid: UInt32)
  case starting(delivery: UInt64, id: UInt64, channel: Channel, recipient: Address)
  case outcome(delivery: UInt64, Outcome, text: String)
  case bounce(id: UInt64, pid: Int)
  case end(id: UInt64)
  case status(text: String)
  /// warning:, alert:, triple bounce and anything this version does not know.
  case other(text: String)

  public enum Outcome: String, Hashable, Sendable {
    case success, failure, deferral
  }

  /// Never fails: what cannot be understood is ``other(text:)``.
  public init(_ line: String) {
    let words = line.split(separator: " ", omittingEmptySubsequences: false)
    self = Self.parse(words, line) ?? .other(text: line)
  }

  private static func parse(_ w: [Substring], _ line: String) -> SendLogLine? {
    guard let first = w.first else { return nil }
    switch first {
    case "new" where w.count == 3 && w[1] == "msg":
      return UInt64(w[2]).map { .new(id: $0) }
    case "end" where w.count == 3 && w[1] == "msg":
      return UInt64(w[2]).map { .end(id: $0) }
    case "bounce" where w.count == 5 && w[3] == "qp":
      guard let id = UInt64(w[2]), let pid = Int(w[4]) else { return nil }
      return .bounce(id: id, pid: pid)
    case "status:":
      return .status(text: String(line.dropFirst(8)))
    case "info":
      // info msg ID: bytes N from <S> qp PID uid U; S may hold blanks, so count from the right.
      guard w.count >= 11, w[1] == "msg", w[w.count - 2] == "uid", w[w.count - 4] == "qp",
        let id = UInt64(w[2].dropLast()), let bytes = Int64(w[4]),
        let uid = UInt32(w[w.count - 1]), let pid = Int(w[w.count - 3])
      else { return nil }
      let sender = w[6...(w.count - 5)].joined(separator: " ")
      guard sender.hasPrefix("<"), sender.hasSuffix(">") else { return nil }
      return .info(
        id: id, bytes: bytes, sender: Address(String(sender.dropFirst().dropLast())), pid: pid,
        uid: uid)
    case "starting":
      // starting delivery D: msg ID to local ADDR
      guard w.count >= 8, w[1] == "delivery", let delivery = UInt64(w[2].dropLast()),
        let id = UInt64(w[4]), let channel = Channel(rawValue: String(w[6]))
      else { return nil }
      return .starting(
        delivery: delivery, id: id, channel: channel,
        recipient: Address(w[7...].joined(separator: " ")))
    case "delivery":
      guard w.count >= 3, w[1].hasSuffix(":"), let delivery = UInt64(w[1].dropLast()),
        let outcome = Outcome(rawValue: String(w[2].dropLast()))
      else { return nil }
      return .outcome(delivery: delivery, outcome, text: w[3...].joined(separator: " "))
    default: return nil
    }
  }
}
