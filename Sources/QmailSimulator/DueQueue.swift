/// Queue numbers by the second at which they are due (prioq.c); those of one second in the order they came.
struct DueQueue {
  struct Item {
    var due: Int
    var id: UInt64
    fileprivate var turn: Int
    fileprivate static func < (a: Item, b: Item) -> Bool { (a.due, a.turn) < (b.due, b.turn) }
  }

  private(set) var items: [Item] = []
  private var turn = 0

  var first: Item? { items.first }

  mutating func insert(_ id: UInt64, due: Int) {
    turn += 1
    items.append(Item(due: due, id: id, turn: turn))
    var child = items.count - 1
    while child > 0, items[child] < items[(child - 1) / 2] {
      items.swapAt(child, (child - 1) / 2)
      child = (child - 1) / 2
    }
  }

  /// Takes out the first item if it is due.
  mutating func pop(dueAt now: Int) -> UInt64? {
    guard let first = items.first, first.due <= now else { return nil }
    let last = items.removeLast()
    guard !items.isEmpty else { return first.id }
    items[0] = last
    var parent = 0
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2]
      where child < items.count && items[child] < items[least] { least = child }
      if least == parent { return first.id }
      items.swapAt(parent, least)
      parent = least
    }
  }

  /// Makes all due at once, in the order in which they would have come.
  mutating func makeAllDue(at now: Int) {
    items.sort { $0 < $1 }
    for index in items.indices { items[index].due = now }
    for index in items.indices { items[index].turn = index - items.count }
  }
}
