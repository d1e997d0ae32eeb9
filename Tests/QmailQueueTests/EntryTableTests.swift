import Mail
import Testing

@testable import QmailQueue

@Suite("What the watcher remembers of each message")
struct EntryTableTests {
  private func identity(_ number: Int) -> EntryIdentity {
    // As inode numbers are: near each other, with gaps.
    EntryIdentity(
      id: UInt64(1_000_003 + number * 3), birth: Timestamp(nanoseconds: Int64(number) * 1000))
  }

  private func knows(_ table: EntryTable, _ number: Int) -> Bool {
    table.slot(of: identity(number).id).map { table.identity($0) == identity(number) } ?? false
  }

  @Test("after a storm it gives its room back once, and knows what is left and what comes")
  func shrinks() {
    var table = EntryTable()
    for number in 0..<100_000 {
      table.insert(identity(number), infoInode: UInt64(number), number % 2 == 0 ? .remote : .local)
    }
    #expect(table.ids.capacity >= 100_000)
    let isEarly = table.shrink(for: 0)
    #expect(!isEarly, "nothing is to spare while they are all there")
    for number in 0..<100_000 where number % 100 != 0 {
      if let slot = table.slot(of: identity(number).id) { table.remove(slot) }
    }
    let isSmaller = table.shrink(for: 0)
    let isSmallerStill = table.shrink(for: 0)
    #expect(isSmaller && !isSmallerStill)
    #expect(table.count == 1000 && table.ids.capacity < 10_000)
    #expect(table.count(.remote) == 1000 && table.count(.local) == 0)
    #expect((0..<100_000).allSatisfy { knows(table, $0) == ($0 % 100 == 0) })
    for number in 100_000..<120_000 { table.insert(identity(number), infoInode: 0, .local) }
    #expect((100_000..<120_000).allSatisfy { knows(table, $0) })
    #expect(table.count == 21_000)
  }
}
