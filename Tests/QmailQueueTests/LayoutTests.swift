import Glibc
import QmailQueue
import Testing

@Suite("The layout is read off the directory")
struct LayoutTests {
  @Test("any split is found, and a flat todo")
  func split() throws {
    for split in [1, 5, 23] {
      let fixture = QueueFixture(split: split)
      let layout = try fixture.layout
      #expect(layout.split == split && !layout.todoIsSplit && layout.notes.isEmpty)
      #expect(layout.path(.mess, 47) == "\(fixture.queue)/mess/\(47 % split)/47")
      #expect(layout.path(.todo, 47) == "\(fixture.queue)/todo/47")
      #expect(layout.path(.bounce, 47) == "\(fixture.queue)/bounce/47")
    }
  }

  @Test("split todo and further channels are seen and told")
  func bigTodo() throws {
    let fixture = QueueFixture(
      split: 3, todoIsSplit: true, channels: ["local", "remote", "remote2", "remote3"])
    let layout = try fixture.layout
    #expect(layout.todoIsSplit && layout.intdIsSplit)
    #expect(layout.extraChannels == ["remote2", "remote3"])
    #expect(layout.notes.count == 2)
    #expect(layout.path(.intd, 47) == "\(fixture.queue)/intd/2/47")
  }

  @Test("no queue, no queue directories, several queues: what, where and what to do")
  func errors() throws {
    let fixture = QueueFixture()
    func failure(_ qmail: String) -> QueueError? {
      do {
        _ = try QueueLayout.read(qmail: qmail)
        return nil
      } catch { return error }
    }
    let none = try #require(failure("\(fixture.qmail)/nowhere"))
    #expect(none.kind == .noQueue && none.exitCode == 69)
    #expect(
      none.description.hasPrefix("\(fixture.qmail)/nowhere/queue: ")
        && none.description.contains("--qmail"))

    rmdir("\(fixture.queue)/bounce")
    let part = try #require(failure(fixture.qmail))
    #expect(
      part.kind == .notAQueue && part.exitCode == 69 && part.description.contains("no bounce"))

    rename(fixture.queue, "\(fixture.qmail)/queue1")
    mkdir(fixture.queue, 0o755)
    rename("\(fixture.qmail)/queue1", "\(fixture.queue)/queue1")
    #expect(try #require(failure(fixture.qmail)).description.contains("IndiMail"))

    let file = QueueFixture()
    rename(file.queue, "\(file.qmail)/old")
    file.write("", file.queue)
    #expect(failure(file.qmail)?.exitCode == 69)
  }

  @Test("mess without subdirectories, and directories that do not fit together")
  func uneven() throws {
    let fixture = QueueFixture(split: 3)
    rmdir("\(fixture.queue)/info/2")
    #expect(try fixture.layout.notes.contains { $0.contains("info has 2") })
    for part in 0..<3 { rmdir("\(fixture.queue)/mess/\(part)") }
    #expect(throws: QueueError.self) { try fixture.layout }
  }

  @Test(
    "an unreadable queue is a matter of permission",
    .enabled(if: getuid() != 0, "root reads everything"))
  func permission() throws {
    let fixture = QueueFixture()
    chmod("\(fixture.queue)/mess", 0)
    defer { chmod("\(fixture.queue)/mess", 0o755) }
    do {
      _ = try fixture.layout
      Issue.record("read what it may not")
    } catch { #expect((error as? QueueError)?.exitCode == 77) }
  }
}
