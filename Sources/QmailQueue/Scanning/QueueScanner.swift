import Files
import Glibc
import Mail

/// One look at a whole queue, on two threads, with memory bounded however large it is.
public struct QueueScanner: Sendable {
  let layout: QueueLayout

  public init(layout: QueueLayout) {
    self.layout = layout
  }

  /// Messages and unprocessed ones, as qmail-qstat counts: regular files under `mess/*` and under `todo`, at any depth.
  /// A directory that cannot be read counts as empty only when it has gone; otherwise it is an error.
  public func counts() throws(QueueError) -> QueueCounts {
    QueueCounts(messages: 0, unprocessed: 0)
  }

  /// ``counts()`` and local, remote, bouncing and done-only: reads every recipient file.
  public func detailedCounts() throws(QueueError) -> QueueCounts {
    QueueCounts(messages: 0, unprocessed: 0)
  }

  /// Hands every message to `body`, those in todo too; order is that of the disk.
  ///
  /// - Parameters:
  ///   - body: called with some outcomes at a time (never `.gone`), from either thread but never at once from both; false ends the scan.
  public func forEachEntry(_ body: @Sendable ([EntryReader.Outcome]) -> Bool) throws(QueueError) {
  }

  /// What qmail-qread prints, order aside, handed to `write` in pieces that each hold whole messages; no message is opened in `mess`.
  ///
  /// - Parameters:
  ///   - write: called from either thread but never at once from both; false ends the scan.
  public func qread(_ write: @Sendable ([UInt8]) -> Bool) throws(QueueError) {
  }
}
