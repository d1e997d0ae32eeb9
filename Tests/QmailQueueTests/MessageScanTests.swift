import Mail
import QmailQueue
import Synchronization
import Testing

@Suite struct MessageScanTests {
  private static func found<Item: Sendable>(
    _ fixture: QueueFixture, _ look: EntryLook<Item>, ids: Set<UInt64>? = nil
  ) throws -> [Item] {
    let items = Mutex<[Item]>([])
    try QueueScanner(layout: fixture.layout).forEach(look, ids: ids) { findings in
      items.withLock { $0 += findings.items }
      return true
    }
    return items.withLock { $0 }
  }

  @Test("no more is read of a message than the look asks for")
  func detail() throws {
    let fixture = QueueFixture()
    let id = fixture.inject(from: "a@b", to: ["c@d"])
    fixture.takeIn(id, from: "a@b", remote: ["c@d"])
    fixture.remove(.todo, id)
    let bare = EntryLook<Entry>([]) { entry, message in message == nil ? entry : nil }
    let entry = try #require(try Self.found(fixture, bare).first)
    #expect(entry.sender == Address("a@b") && entry.remote.isEmpty && entry.size == 0)
    let full = EntryLook<(Entry, String?)>(.all) { ($0, $1?.header.text("subject")) }
    let (whole, subject) = try #require(try Self.found(fixture, full).first)
    #expect(whole.remote.count == 1 && whole.size > 100 && subject == "hello")
    #expect(whole.source == .network(client: "127.66.6.6", helo: "laptop", user: "alice"))
    let unwanted = EntryLook<Int>(.all, isWanted: { _ in false }) { _, _ in 1 }
    #expect(try Self.found(fixture, unwanted).isEmpty)
  }

  @Test("chosen numbers are found in todo too, and unknown ones are not")
  func numbers() throws {
    let fixture = QueueFixture()
    let first = fixture.inject(from: "a@b", to: ["c@d"])
    fixture.inject(from: "longer@b", to: ["c@d"])
    let look = EntryLook<UInt64>(.all) { entry, _ in entry.isUnprocessed ? entry.identity.id : nil }
    #expect(try Self.found(fixture, look, ids: [first, 1]) == [first])
    #expect(try Self.found(fixture, look).count == 2)
  }

  @Test("a header longer than a step and a body of one long line are given whole")
  func longMessages() throws {
    let fixture = QueueFixture()
    let long = String(repeating: "x", count: 300_000)
    let filler = (0..<4000).map { "X-Filler-\($0): \(String(repeating: "y", count: 40))\n" }
      .joined()
    fixture.inject(from: "a@b", to: ["c@d"], message: "\(filler)Subject: last\n\n\(long)end")
    let look = EntryLook<(String?, Int, Int)>(.all) { _, message in
      guard let message else { return nil }
      var length = 0
      message.forEachBodyPiece { piece in
        length += piece.count
        return true
      }
      return (message.header.text("subject"), length, message.contents(limit: 1 << 20).count)
    }
    let (subject, length, whole) = try #require(try Self.found(fixture, look).first)
    #expect(subject == "last")
    #expect(length == 300_003)
    #expect(whole == filler.utf8.count + 15 + 300_003)
  }
}
