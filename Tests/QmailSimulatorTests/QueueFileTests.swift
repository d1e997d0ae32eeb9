import Files
import Fixtures
import Glibc
import Mail
import QmailQueue
import Testing

@testable import QmailSimulator

@Suite struct QueueFileTests {
  @Test("the tree has qmail's directories and modes, with any split", arguments: [23, 1, 7])
  func layout(split: Int) throws {
    let box = try Sandbox(split: split, todoIsSplit: split == 7, started: false)
    func mode(_ name: String) throws -> UInt32 {
      try FileStatus.of("\(box.qmail.qmail)/queue/\(name)").permissions
    }
    for name in ["mess", "todo", "lock", "mess/0"] { #expect(try mode(name) == 0o750) }
    for name in ["info", "local", "remote", "intd", "bounce", "pid", "info/\(split - 1)"] {
      #expect(try mode(name) == 0o700)
    }
    #expect(throws: FileError.self) { try mode("mess/\(split)") }
    #expect(((try? mode("todo/6")) != nil) == (split == 7))
    let again = try QueueTree(reading: box.qmail.qmail)
    #expect(again.split == UInt64(split))
    #expect(again.todoIsSplit == (split == 7))
    let id = try box.send("a@mx.test", to: "b@far.example")
    #expect(box.files.contains("mess/\(id % UInt64(split))/\(id)"))
    box.qmail.exchanger = SteadyExchanger { _ in .deferral }
    try box.qmail.start(at: box.zero)
    box.qmail.step(now: box.zero)
    let part = id % UInt64(split)
    #expect(box.files == ["info", "mess", "remote"].map { "\($0)/\(part)/\(id)" })
  }

  @Test("a message just injected has the files and bytes that qmail-queue writes")
  func injected() throws {
    let box = try Sandbox(started: false)
    let id = try box.send(
      "someone@else.example", to: "joe@mx.test", "x@far.example",
      via: .network(client: "127.2.2.2", helo: "client_x", user: "al ice"))
    #expect(
      box.files == ["intd/\(id)", "mess/\(id % 23)/\(id)", "todo/\(id)"])
    let mess = try FileStatus.of(box.path(.mess, id))
    #expect(mess.inode == id)
    #expect(mess.permissions == 0o644 && mess.links == 1)
    let todo = try FileStatus.of(box.path(.todo, id))
    #expect(todo.isSameFile(as: try FileStatus.of(box.path(.intd, id))))
    #expect(todo.links == 2 && todo.permissions == 0o644 && todo.modified == box.zero)
    #expect(
      box.text(.todo, id)
        == "u7791\0p10001\0Fsomeone@else.example\0Tjoe@mx.test\0Tx@far.example\0")
    #expect(
      box.text(.mess, id) == """
        Received: (qmail 10001 invoked from network); 23 Nov 2026 17:41:03 -0000
        Received: from unknown (HELO client?x) (al?ice@127.2.2.2)
          by mx.test with SMTP; 23 Nov 2026 17:41:03 -0000
        Subject: x

        hello

        """)
  }

  @Test(
    "the first Received line says how the message came",
    arguments: [
      (Source.uid(33), "by uid 33"), (.alias, "by alias"), (.bounce(original: nil), "for bounce"),
    ])
  func received(source: Source, words: String) throws {
    let box = try Sandbox(started: false)
    let id = try box.send("", to: "x@far.example", via: source)
    #expect(
      box.text(.mess, id)?.hasPrefix(
        "Received: (qmail 10001 invoked \(words)); 23 Nov 2026 17:41:03 -0000\nSubject: x\n")
        == true)
    #expect(box.text(.todo, id) == "u\(source.uid)\0p10001\0F\0Tx@far.example\0")
  }

  @Test("the directories see qmail-queue's steps in qmail-queue's order")
  func order() throws {
    let box = try Sandbox(split: 1, started: false)
    let watcher = inotify_init1(Int32(IN_NONBLOCK))
    defer { close(watcher) }
    var names: [Int32: String] = [:]
    for name in ["pid", "mess/0", "intd", "todo"] {
      let watch = inotify_add_watch(
        watcher, "\(box.qmail.qmail)/queue/\(name)", UInt32(IN_CREATE) | UInt32(IN_DELETE))
      names[watch] = name
    }
    try box.send("a@mx.test", to: "b@far.example")
    var buffer = [UInt8](repeating: 0, count: 8192)
    let count = read(watcher, &buffer, buffer.count)
    var seen: [String] = []
    var at = 0
    while at < count {
      let (watch, mask, length) = buffer.withUnsafeBytes {
        (
          $0.loadUnaligned(fromByteOffset: at, as: Int32.self),
          $0.loadUnaligned(fromByteOffset: at + 4, as: UInt32.self),
          $0.loadUnaligned(fromByteOffset: at + 12, as: UInt32.self)
        )
      }
      seen.append((mask & UInt32(IN_CREATE) != 0 ? "+" : "-") + (names[watch] ?? "?"))
      at += 16 + Int(length)
    }
    #expect(seen == ["+pid", "+mess/0", "-pid", "+intd", "+todo"])
  }

  @Test("qmail-queue's exit codes, and what it leaves behind")
  func refusals() throws {
    let box = try Sandbox(started: false)
    func code(_ envelope: [UInt8]) -> Int32 {
      do {
        _ = try box.qmail.queue([65], envelope: envelope, uid: 0, at: box.zero)
        return 0
      } catch { return error.code }
    }
    func address(_ letters: Int) -> [UInt8] { [UInt8](repeating: 97, count: letters) }
    #expect(code(Array("Fa@b\0".utf8) + [0]) == 0)
    #expect(code([70] + address(1002) + Array("\0Tx@y\0\0".utf8)) == 0)
    let accepted = box.files
    #expect(code(Array("Fa@b\0Tx@y\0".utf8)) == 54)
    #expect(code([]) == 54)
    #expect(box.files == accepted)
    #expect(code([70] + address(1003) + [0, 0]) == 11)
    #expect(code(Array("Ta@b\0\0".utf8)) == 91)
    #expect(code(Array("Fa@b\0Fx@y\0\0".utf8)) == 91)
    // The last three leave mess and intd, as the original does; nothing is in todo.
    #expect(box.files.count == accepted.count + 6)
    #expect(box.files.count { $0.hasPrefix("todo/") } == 2)
    TemporaryFolder.remove("\(box.qmail.qmail)/queue/todo")
    #expect(code(Array("Fa@b\0\0".utf8)) == 66)
  }

  @Test("the queue program reads message and envelope from descriptors and queues them")
  func program() throws {
    let box = try Sandbox(started: false)
    func pipeHolding(_ text: String) -> Int32 {
      var ends: [Int32] = [0, 0]
      guard pipe(&ends) == 0 else { return -1 }
      write(ends[1], text, text.utf8.count)
      close(ends[1])
      return ends[0]
    }
    let (message, envelope) = (pipeHolding("Subject: y\n\nbody\n"), pipeHolding("Fa@b\0Tc@d\0\0"))
    defer {
      close(message)
      close(envelope)
    }
    #expect(
      SimulatedQueueProgram.run(qmail: box.qmail.qmail, message: message, envelope: envelope) == 0)
    let id = try #require(try box.qmail.tree.numbers(.todo).first)
    #expect(box.text(.todo, id) == "u\(getuid())\0p\(getpid())\0Fa@b\0Tc@d\0")
    #expect(box.text(.mess, id)?.hasSuffix("\nSubject: y\n\nbody\n") == true)
    #expect(SimulatedQueueProgram.run(qmail: "/nowhere", message: 0, envelope: 0) == 62)
  }

  @Test("the queue program ends with the envelope's end, though its sender keeps the stream open")
  func openEnvelope() throws {
    let box = try Sandbox(started: false)
    var ends: [Int32] = [0, 0]
    #expect(pipe(&ends) == 0)
    write(ends[1], "Fa@b\0Tc@d\0\0", 12)
    let nothing = open("/dev/null", O_RDONLY)
    #expect(
      SimulatedQueueProgram.run(qmail: box.qmail.qmail, message: nothing, envelope: ends[0]) == 0)
    for number in ends + [nothing] { close(number) }
    #expect(try box.qmail.tree.numbers(.todo).count == 1)
  }

  @Test("bin/qmail-queue hands over to the given program, whatever its path")
  func script() throws {
    let box = try Sandbox(started: false)
    try box.qmail.installQueueProgram(executable: "/opt/it's here/qwarden")
    let path = box.qmail.qmail + "/bin/qmail-queue"
    #expect(try FileStatus.of(path).permissions == 0o755)
    #expect(
      String(decoding: try Descriptor.open(path).readAll(limit: 4096), as: UTF8.self) == """
        #!/bin/sh
        exec '/opt/it'\\''s here/qwarden' simulated-qmail-queue '\(box.qmail.qmail)'

        """)
  }
}
