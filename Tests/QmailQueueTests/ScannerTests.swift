import Glibc
import Mail
import QmailQueue
import Synchronization
import Testing

@Suite("One look at the whole queue")
struct ScannerTests {
  private func qread(_ fixture: QueueFixture) throws -> [UInt8] {
    let text = Mutex<[UInt8]>([])
    try QueueScanner(layout: fixture.layout).qread { piece in
      text.withLock { $0 += piece }
      return true
    }
    return text.withLock { $0 }
  }

  private func entries(_ fixture: QueueFixture) throws -> [EntryReader.Outcome] {
    let all = Mutex<[EntryReader.Outcome]>([])
    try QueueScanner(layout: fixture.layout).forEachEntry { some in
      all.withLock { $0 += some }
      return true
    }
    return all.withLock { $0 }
  }

  /// The text cut into messages, sorted, as the order is that of the disk.
  private func messages(_ text: some Sequence<UInt8>) -> [[UInt8]] {
    var messages: [[UInt8]] = []
    for line in Array(text).split(separator: UInt8(ascii: "\n")) {
      if line.first == 9 || line.first == 32, !messages.isEmpty {
        messages[messages.count - 1] += line + [10]
      } else {
        messages.append(line + [10])
      }
    }
    return messages.sorted { $0.lexicographicallyPrecedes($1) }
  }

  @Test("counts are qmail-qstat's: regular files at any depth")
  func counts() throws {
    let fixture = QueueFixture()
    for i in 0..<20 { fixture.message(from: "a@b", remote: ["\(i)@c"]) }
    for i in 0..<3 { fixture.inject(from: "a@b", to: ["\(i)@c"]) }
    fixture.write("", "\(fixture.queue)/mess/junk")
    fixture.write("", "\(fixture.queue)/mess/.hidden")
    fixture.write("", "\(fixture.queue)/mess/2/not a number")
    fixture.write("", "\(fixture.queue)/mess/3/.dot")
    mkdir("\(fixture.queue)/mess/4/deep", 0o755)
    fixture.write("", "\(fixture.queue)/mess/4/deep/file")
    symlink("junk", "\(fixture.queue)/mess/4/link")
    mkdir("\(fixture.queue)/mess/77", 0o755)
    fixture.write("", "\(fixture.queue)/mess/77/x")
    fixture.write("", "\(fixture.queue)/todo/.x")
    let counts = try QueueScanner(layout: fixture.layout).counts()
    #expect(counts == QueueCounts(messages: 28, unprocessed: 4))
  }

  @Test("detailed counts tell local, remote, bouncing and finished messages apart")
  func detail() throws {
    let fixture = QueueFixture()
    fixture.message(from: "a@b", local: ["x@mx"])
    fixture.message(from: "a@b", local: ["x@mx"], remote: ["y@z"])
    let done = fixture.message(from: "a@b", remote: ["y@z"])
    try fixture.markDone(.remote, done)
    fixture.put(.bounce, done, "<y@z>:\nno\n\n")
    fixture.message(from: "a@b")
    fixture.inject(from: "a@b", to: ["c@d"])
    let counts = try QueueScanner(layout: fixture.layout).detailedCounts()
    #expect(
      counts
        == QueueCounts(messages: 5, unprocessed: 1, local: 2, remote: 2, bouncing: 1, doneOnly: 2))
  }

  @Test("the real samples print as qmail-qread printed them")
  func samples() throws {
    let fixture = try QueueFixture.samples()
    let expected = messages(try QueueFixture.sample("qmail-qread.txt"))
    #expect(expected.count == 7)
    #expect(messages(try qread(fixture)) == expected)
    let whole = try entries(fixture).flatMap { outcome in
      if case .entry(let entry) = outcome { QreadFormat.text(entry) } else { [UInt8]() }
    }
    #expect(messages(whole) == expected)
  }

  @Test(
    "odd bytes are masked, strange records skipped, a missing mess is told as qmail-qread tells it")
  func odd() throws {
    let fixture = QueueFixture()
    let id = fixture.message(from: "a\u{7}é@b", remote: ["c"])
    fixture.put(.remote, id, "Tx\ty@z\0Qno\0\0Dd\0Thalf")
    fixture.put(.local, id, "Dl\0")
    let text = String(decoding: try qread(fixture), as: UTF8.self)
    #expect(
      text.hasSuffix(
        " GMT  #\(id)  \(QueueFixture.relayed.utf8.count)  <a___@b> \n  done\tlocal\tl\n\tremote\tx_y@z\n  done\tremote\td\n"
      ), "\(text)")
    fixture.remove(.mess, id)
    #expect(
      try qread(fixture) == Array("warning: trouble with #\(id): No such file or directory\n".utf8))
  }

  @Test(
    "each message comes once, damage too, junk names not at all; the scan stops when asked",
    arguments: [false, true])
  func everything(todoIsSplit: Bool) throws {
    let fixture = QueueFixture(todoIsSplit: todoIsSplit)
    var ids: Set<UInt64> = []
    for i in 0..<700 { ids.insert(fixture.message(from: "a@b", remote: ["\(i)@c"])) }
    for i in 0..<5 { ids.insert(fixture.inject(from: "a@b", to: ["\(i)@c"])) }
    fixture.write("", "\(fixture.queue)/info/1/junk")
    fixture.write("", "\(fixture.queue)/info/1/007")
    fixture.put(.info, 1, "Fhalf")
    let outcomes = try entries(fixture)
    #expect(outcomes.count == 706)
    #expect(
      outcomes.contains(.damaged(1, why: "its info file is half-written, though it is not in todo"))
    )
    #expect(
      Set(outcomes.compactMap { if case .entry(let entry) = $0 { entry.identity.id } else { nil } })
        == ids)
    let calls = Atomic<Int>(0)
    try QueueScanner(layout: fixture.layout).forEachEntry { _ in
      calls.add(1, ordering: .relaxed)
      return false
    }
    #expect(calls.load(ordering: .relaxed) == 1)
  }

  @Test("a directory that cannot be listed is an error that names it")
  func missing() throws {
    let fixture = QueueFixture()
    let scanner = QueueScanner(layout: try fixture.layout)
    rename("\(fixture.queue)/mess/2", "\(fixture.queue)/mess.2")
    do {
      _ = try scanner.counts()
      Issue.record("no error")
    } catch { #expect(error.path.hasSuffix("mess/2")) }
    rename("\(fixture.queue)/mess.2", "\(fixture.queue)/mess/2")
  }
}
