import Glibc
import Mail
import QmailQueue
import Testing

@Suite("Reading one message")
struct ReaderTests {
  private func found(_ outcome: EntryReader.Outcome) -> Entry? {
    if case .entry(let entry) = outcome { entry } else { nil }
  }

  @Test("a message that was taken in, with all it has")
  func whole() throws {
    let fixture = QueueFixture()
    let id = fixture.message(from: "alice@mx.test", local: ["joe@mx.test"], remote: ["a@b", "c@d"])
    try fixture.markDone(.remote, id)
    fixture.put(.bounce, id, "<a@b>:\nno\n\n")
    let entry = try #require(found(EntryReader(layout: try fixture.layout).read(id)))
    #expect(entry.sender == Address("alice@mx.test"))
    #expect(entry.local == [Recipient(address: Address("joe@mx.test"))])
    #expect(entry.remote.map(\.isDone) == [true, false])
    #expect(entry.isBouncing && !entry.isUnprocessed && entry.pendingCount == 2)
    #expect(entry.source == .network(client: "127.66.6.6", helo: "laptop", user: "alice"))
    #expect(entry.size == Int64(QueueFixture.relayed.utf8.count))
    var info = stat()
    stat(fixture.path(.info, id), &info)
    #expect(
      entry.identity.birth.nanoseconds == Int64(info.st_mtim.tv_sec) * 1_000_000_000
        + Int64(info.st_mtim.tv_nsec))
  }

  @Test("reading leaves no trace, which would have the kernel write three inodes a message")
  func unseen() throws {
    let fixture = QueueFixture()
    let id = fixture.message(from: "alice@mx.test", remote: ["a@b"])
    func lastReadings() -> [Int] {
      [QueueFile.mess, .info, .remote].map {
        var status = stat()
        stat(fixture.path($0, id), &status)
        return status.st_atim.tv_sec
      }
    }
    for kind in [QueueFile.mess, .info, .remote] {
      // Before it was written: the next reading is taken note of, also with relatime (mount(8)).
      let times = [timespec(tv_sec: 1000, tv_nsec: 0), timespec(tv_sec: 2000, tv_nsec: 0)]
      try #require(utimensat(AT_FDCWD, fixture.path(kind, id), times, 0) == 0)
    }
    #expect(found(EntryReader(layout: try fixture.layout).read(id)) != nil)
    #expect(lastReadings() == [1000, 1000, 1000])
  }

  @Test(
    "until todo is gone a message is unprocessed, whatever else is there", arguments: [false, true])
  func unprocessed(todoIsSplit: Bool) throws {
    let fixture = QueueFixture(todoIsSplit: todoIsSplit)
    let id = fixture.inject(from: "a@b", to: ["c@d", "e@f"])
    let reader = EntryReader(layout: try fixture.layout)
    for half in [nil, "", "Fa", "Fa@b\0"] {
      if let half { fixture.put(.info, id, half) }
      fixture.put(.local, id, "Tc")
      let entry = try #require(found(reader.read(id)))
      #expect(entry.isUnprocessed && entry.unrouted.count == 2 && entry.local.isEmpty)
      #expect(entry.sender == Address("a@b"))
    }
  }

  @Test("what is not there, not yet or not any more, is gone")
  func gone() throws {
    let fixture = QueueFixture()
    let reader = EntryReader(layout: try fixture.layout)
    #expect(reader.read(12) == .gone)
    fixture.put(.mess, 12, "being written")
    #expect(reader.read(12) == .gone)
    rename(fixture.queue, "\(fixture.qmail)/away")
    #expect(reader.read(12) == .gone)
  }

  @Test("what cannot be a message is damage with a reason")
  func damaged() throws {
    let fixture = QueueFixture()
    let reader = EntryReader(layout: try fixture.layout)
    func why(_ id: UInt64) -> String {
      if case .damaged(id, let why) = reader.read(id) { why } else { "" }
    }
    fixture.put(.info, 1, "Fa@b")
    #expect(why(1).contains("half-written"))
    fixture.put(.info, 2, "Fa@b\0")
    #expect(why(2).contains("mess file is missing"))
    symlink("/etc/passwd", fixture.path(.info, 3))
    #expect(why(3).contains("symbolic link"))
    mkdir(fixture.path(.info, 4), 0o755)
    #expect(!why(4).isEmpty)
    fixture.put(.mess, 5, "x")
    fixture.put(.todo, 5, "u1\0p2\0Fa")
    #expect(why(5).contains("envelope"))
    fixture.put(.info, 6, "Fa@b\0")
    fixture.put(.mess, 6, "x")
    mkfifo(fixture.path(.remote, 6), 0o644)
    #expect(why(6).contains("remote"))
  }

  @Test("a bounce is read as far as the copy inside it")
  func longBounce() throws {
    let fixture = QueueFixture()
    let failures = (1...300).map {
      "<user\($0)@b.example>:\nno such user, says the remote server\n\n"
    }
    let text =
      "Received: (qmail 9 invoked for bounce); x\n\nHi. This is the qmail-send program at mx.\n\n"
      + failures.joined()
      + "--- Below this line is a copy of the message.\n\nReturn-Path: <a@b>\n"
      + QueueFixture.relayed
    #expect(text.utf8.count > 16_384)
    let id = fixture.message(from: "", remote: ["a@b"], message: text)
    let source = found(EntryReader(layout: try fixture.layout).read(id))?.source
    #expect(
      source
        == .bounce(
          original: .init(
            sender: Address("a@b"),
            source: .network(client: "127.66.6.6", helo: "laptop", user: "alice"),
            failedRecipients: 300)))
  }
}
