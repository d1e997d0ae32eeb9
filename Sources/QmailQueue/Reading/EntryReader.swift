import Files
import Glibc
import Mail

/// Reads single messages of a queue: each file opened once, whatever happens to it meanwhile.
public struct EntryReader: Sendable {
  /// What became of reading one message.
  public enum Outcome: Sendable, Hashable {
    case entry(Entry)
    /// It is not there, or not any more; or qmail-queue is still writing it.
    case gone
    /// Something is there that is no message, and why.
    case damaged(UInt64, why: String)
  }

  let layout: QueueLayout

  public init(layout: QueueLayout) {
    self.layout = layout
  }

  public func read(_ id: UInt64) -> Outcome {
    .gone
  }
}
