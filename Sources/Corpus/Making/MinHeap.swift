/// A binary heap: what is due first comes first, and what is due at the same time in the order it came.
struct MinHeap<Item: Sendable>: Sendable {
  private var items: [(due: Double, turn: Int, item: Item)] = []
  private var turn = 0

  var first: (due: Double, item: Item)? { items.first.map { ($0.due, $0.item) } }

  private func precedes(_ a: Int, _ b: Int) -> Bool {
    (items[a].due, items[a].turn) < (items[b].due, items[b].turn)
  }

  mutating func insert(_ item: Item, due: Double) {
    turn += 1
    items.append((due, turn, item))
    var child = items.count - 1
    while child > 0, precedes(child, (child - 1) / 2) {
      items.swapAt(child, (child - 1) / 2)
      child = (child - 1) / 2
    }
  }

  mutating func removeFirst() -> (due: Double, item: Item)? {
    guard let first = items.first else { return nil }
    let last = items.removeLast()
    guard !items.isEmpty else { return (first.due, first.item) }
    items[0] = last
    var parent = 0
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2]
      where child < items.count && precedes(child, least) { least = child }
      if least == parent { return (first.due, first.item) }
      items.swapAt(parent, least)
      parent = least
    }
  }
}
