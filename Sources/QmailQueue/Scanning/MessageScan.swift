import Files
import Synchronization

/// A message that is there but not whole, or not for this user to read, and why.
public struct DamagedMessage: Sendable, Hashable {
  public var id: UInt64
  public var why: String
  public var isForbidden: Bool
}

extension QueueScanner {
  /// What a look made of some messages.
  public struct Findings<Item: Sendable>: Sendable {
    public var items: [Item] = []
    public var damaged: [DamagedMessage] = []
    /// Messages looked at, wanted or not.
    public var looked = 0
  }

  /// Looks at every message, or at `ids` only, those in todo too; order is that of the disk.
  ///
  /// - Parameters:
  ///   - body: called with some findings at a time, from any thread but never from two at once; false ends the scan.
  public func forEach<Item: Sendable>(
    _ look: EntryLook<Item>, ids: Set<UInt64>? = nil,
    _ body: @Sendable (Findings<Item>) -> Bool
  ) throws(QueueError) {
    let queue = try OpenQueue(layout)
    let turn = Mutex(true)
    if let ids {
      let reader = ThreadLook(look)
      for id in ids.sorted() { reader.read(id, queue) }
      _ = reader.hand(turn, body)
      return
    }
    // todo before info: a message that is taken in meanwhile is met in one of them, and not in both.
    let names = try ListedNames(queue)
    try SharedWork.run(
      Int(queue.spread.split) + 1, atMost: SharedWork.reads, apart: .keepingAll,
      each: { ThreadLook(look) }
    ) { reader, part throws(QueueError) in
      let isTodo = part == Int(queue.spread.split)
      let near = isTodo ? queue : try OpenQueue(queue, near: part)
      let listed =
        isTodo || !look.detail.contains(.recipients)
        ? names : try names.withChannels(queue, part: part)
      for id in isTodo ? Array(names.todo) : try queue.numbers(.info, part).sorted() {
        if !isTodo, names.todo.contains(id) { continue }
        reader.read(id, near, listed: listed)
        if reader.isFull, !reader.hand(turn, body) { return false }
      }
      return reader.hand(turn, body)
    }
  }
}

/// A look with one thread's buffers and findings.
private final class ThreadLook<Item: Sendable> {
  private final class Made { var item: Item? }
  private let look: OpenLook
  private let made = Made()
  private var buffer = ReadBuffer(spent: 64)
  private var findings = QueueScanner.Findings<Item>()

  init(_ look: EntryLook<Item>) {
    let made = made
    self.look = OpenLook(look.detail, isWanted: look.isWanted) { entry, message in
      made.item = look.make(entry, message)
      return made.item != nil
    }
  }

  var isFull: Bool { findings.looked >= 256 }

  func read(_ id: UInt64, _ queue: OpenQueue, listed: ListedNames? = nil) {
    made.item = nil
    let reading = queue.entry(id, &buffer, listed: listed, look: look)
    findings.looked += 1
    switch reading.outcome {
    case .entry: if let item = made.item { findings.items.append(item) }
    case .damaged(let id, let why):
      findings.damaged.append(DamagedMessage(id: id, why: why, isForbidden: reading.isForbidden))
    case .gone: break
    }
  }

  func hand(
    _ turn: borrowing Mutex<Bool>, _ body: (QueueScanner.Findings<Item>) -> Bool
  ) -> Bool {
    defer { findings = QueueScanner.Findings() }
    return turn.withLock { wanted in
      if wanted, findings.looked > 0 { wanted = body(findings) }
      return wanted
    }
  }
}
