import Files
import Mail

/// Names that stood in some directories when they were listed: where many messages are read, they save looking for each file that is not there, which is dear.
struct ListedNames: Sendable {
  private let begun: Timestamp
  let todo: Set<UInt64>
  let bounce: Set<UInt64>
  private var local: Set<UInt64>?
  private var remote: Set<UInt64>?

  init(_ queue: OpenQueue) throws(QueueError) {
    begun = WallClock.now()
    todo = Set(try queue.allNumbers(.todo))
    bounce = Set(try queue.numbers(.bounce, 0))
  }

  /// Lists the channels too, of the messages of one part.
  func withChannels(_ queue: OpenQueue, part: Int) throws(QueueError) -> ListedNames {
    var names = self
    names.local = Set(try queue.numbers(.local, part))
    names.remote = Set(try queue.numbers(.remote, part))
    return names
  }

  /// Lists the local channel of all messages, unless that takes much memory.
  mutating func listLocal(_ queue: OpenQueue) throws(QueueError) {
    var all: Set<UInt64> = []
    for part in 0..<queue.spread.directories(.local) {
      all.formUnion(try queue.numbers(.local, part))
      if all.count > 100_000 { return }
    }
    local = all
  }

  /// Whether a message born then has no file of this kind: one that was there before the listing gets no other file but `bounce` any more.
  func lacks(_ kind: QueueFile, _ id: UInt64, bornAt birth: Timestamp) -> Bool {
    // Allowing for the grain of the filesystem's clock.
    guard birth < begun - .seconds(2) else { return false }
    switch kind {
    case .todo: return !todo.contains(id)
    case .local: return local?.contains(id) == false
    case .remote: return remote?.contains(id) == false
    default: return false
    }
  }
}
