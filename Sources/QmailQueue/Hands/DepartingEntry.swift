import Files
import Glibc
import Mail

/// A message that was marked and that qmail-send has yet to remove: looked at now and then until it is gone (seconds to hours).
public struct DepartingEntry: Sendable, Hashable {
  public let identity: EntryIdentity
  public let sender: Address
  let layout: QueueLayout

  public init(_ identity: EntryIdentity, sender: Address, in layout: QueueLayout) {
    self.identity = identity
    self.sender = sender
    self.layout = layout
  }

  /// How far it is.
  public enum State: Hashable, Sendable {
    /// qmail-send has removed it.
    case gone
    /// All records are done; it waits for its next pass.
    case leaving
    /// So many records are pending again: the machine went down before the marks reached the disk. ``Recovery`` marks them anew.
    case marksLost(Int)
  }

  /// Looks at the entry's files.
  /// - Throws: where they cannot be read; nothing is known then.
  public func state() throws(RetirementRefusal) -> State {
    guard let files = try files() else { return .gone }
    var pending = 0
    for channel in Channel.allCases {
      pending += try files.records(of: channel).count { !$0.isDone }
    }
    return pending == 0 ? .leaving : .marksLost(pending)
  }

  /// Makes it outlive the machine that these entries have left: qmail-send does not wait for that, and an entry that came back with its marks
  /// lost would be delivered. One wait for the disk.
  public static func secureDepartures(
    of entries: [EntryIdentity], in layout: QueueLayout
  ) throws(FileError) {
    for part in Set(entries.map { $0.id % UInt64(layout.split) }) {
      try Descriptor.open("\(layout.queue)/info/\(part)", [.directory, .following]).sync()
    }
  }

  /// Moves away a `bounce/ID` left by a delivery that was under way at the time of the marks (its recipient failed for good) and appends
  /// its text to the store's; call it until the entry is gone.
  /// - Returns: whether there was one.
  @discardableResult
  public func sweepBounce(into store: QuarantineStore) throws(RetirementRefusal) -> Bool {
    let bounce = BounceFile(identity, in: layout)
    let isThere = try bounce.exists
    let isAside = try bounce.isAside
    guard isThere || isAside else { return false }
    guard let files = try files() else {
      try bounce.drop()
      return false
    }
    let found = try bounce.moveAside(files, into: store)
    do { try store.syncBatch() } catch { throw .store(error) }
    try bounce.removeAside()
    return found
  }

  /// nil when the entry has gone, or its number is another message's (`todo/ID` of a marked message never comes back).
  private func files() throws(RetirementRefusal) -> EntryFiles? {
    do { return try EntryFiles.open(identity, sender: sender, in: layout) } catch {
      switch error {
      case .gone, .notTheSame, .unprocessed: return nil
      default: throw error
      }
    }
  }
}
