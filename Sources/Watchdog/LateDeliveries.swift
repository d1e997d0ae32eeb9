import Mail
import Response

/// Puts together what the lines of qmail-send's log tell of one delivery: of which message it was, and that it ended for good.
///
/// Bounded: what has no end is forgotten once there is too much of it.
struct LateDeliveries {
  private struct Begun {
    var id: UInt64
    var channel: Channel
    var recipient: Address
  }

  /// Which process queued the message that has this number now.
  private var queued: [UInt64: Int] = [:]
  private var begun: [UInt64: Begun] = [:]
  private static let most = 65_536

  /// - Returns: the delivery that ended with this line, by success or failure, where all is known of it.
  mutating func take(_ line: SendLogLine) -> FinishedDelivery? {
    switch line {
    case .info(let id, _, _, let pid, _):
      if queued.count >= Self.most { queued = [:] }
      queued[id] = pid
    case .end(let id): queued[id] = nil
    case .starting(let delivery, let id, let channel, let recipient):
      if begun.count >= Self.most { begun = [:] }
      begun[delivery] = Begun(id: id, channel: channel, recipient: recipient)
    case .outcome(let delivery, let outcome, _):
      guard let begun = begun.removeValue(forKey: delivery), outcome != .deferral else {
        return nil
      }
      return FinishedDelivery(
        id: begun.id, queuedBy: queued[begun.id], channel: begun.channel,
        recipient: begun.recipient)
    case .new, .bounce, .status, .other: break
    }
    return nil
  }
}
