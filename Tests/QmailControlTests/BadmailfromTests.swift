import Dispatch
import Files
import Fixtures
import Foundation
import Glibc
import Mail
import Testing

@testable import QmailControl

@Suite("The edit of badmailfrom")
struct BadmailfromTests {
  private func list(_ home: Home, _ dialect: BadmailfromDialect? = .stock) -> Badmailfrom {
    Badmailfrom(control: home.control, dialect: dialect)
  }

  private func failure(
    _ home: Home, _ dialect: BadmailfromDialect? = .stock, _ sender: String = "alice@mx.test"
  )
    -> BadmailfromError?
  {
    do throws(BadmailfromError) {
      try list(home, dialect).replace(ownLines: [own(sender)])
      return nil
    } catch { return error }
  }

  @Test("the lines as an administrator sees them")
  func golden() throws {
    let home = Home()
    try home.write("control/badmailfrom", "# mine\n@bad.example\n")
    #expect(
      try list(home).replace(ownLines: [
        own("Alice@mx.test"),
        own("@spam.example", incident: nil, reason: "by ann: \u{1B}[2Jcafé\n"),
      ]))
    #expect(
      try home.text() == """
        # mine
        @bad.example
        # qwarden begin
        # qwarden: alice@mx.test until 2026-11-24T03:10:00Z, incident 12: relay-sender
        alice@mx.test
        # qwarden: @spam.example until 2026-11-24T03:10:00Z: by ann: ?[2Jcaf???
        @spam.example
        # qwarden end

        """)
    let read = try list(home).contents()
    #expect(
      read.ownLines == [
        own("alice@mx.test"), own("@spam.example", incident: nil, reason: "by ann: ?[2Jcaf???"),
      ])
    #expect(try !list(home).replace(ownLines: read.ownLines), "nothing changed, nothing written")
    #expect(try list(home).replace(ownLines: []))
    #expect(try home.text() == "# mine\n@bad.example\n")
    #expect(try !list(home).replace(ownLines: []))
  }

  @Test("a file that does not end in a newline gets its last byte back")
  func withoutNewline() throws {
    let home = Home()
    for admin in ["a@b.c", "x\na@b.c", "a@b.c\r", "#", " "] {
      try home.write("control/badmailfrom", admin)
      try list(home).replace(ownLines: [own("alice@mx.test")])
      #expect(try home.text().hasPrefix(admin + "\n# qwarden begin, newline added after "))
      #expect(try list(home).contents().ownLines.count == 1)
      try list(home).replace(ownLines: [own("bob@mx.test"), own("eve@mx.test")])
      try list(home).replace(ownLines: [])
      #expect(try home.text() == admin)
    }
    // The administrator goes on below: now the newline is needed, and stays.
    try home.write("control/badmailfrom", "a@b.c")
    try list(home).replace(ownLines: [own("alice@mx.test")])
    try home.write("control/badmailfrom", try home.text() + "d@e.f")
    try list(home).replace(ownLines: [])
    #expect(try home.text() == "a@b.c\nd@e.f")
    // The administrator puts a line with a newline of its own before the section: that newline is not ours.
    try home.write("control/badmailfrom", "a@b.c")
    try list(home).replace(ownLines: [own("alice@mx.test")])
    try home.write(
      "control/badmailfrom", try home.text().replacing("a@b.c\n", with: "a@b.c\nnew@b.c\n"))
    try list(home).replace(ownLines: [])
    #expect(try home.text() == "a@b.c\nnew@b.c\n")
  }

  @Test("own lines are known in spite of an administrator's editing around and between them")
  func edited() throws {
    let home = Home()
    try list(home).replace(ownLines: [own("alice@mx.test"), own("bob@mx.test")])
    let text = try home.text()
    let edited =
      text
      .replacing("relay-sender\nalice", with: "relay-sender\nnew@admin.example\n\nalice")
      .replacing("bob@mx.test\n#", with: "bob@mx.test \t\r\nsecond@admin.example\n#")
    try home.write("control/badmailfrom", "first@admin.example\n" + edited + "last@admin.example")
    #expect(
      try list(home).contents().ownLines.map(\.sender) == [
        Address("alice@mx.test"), Address("bob@mx.test"),
      ])
    try list(home).replace(ownLines: [own("bob@mx.test")])
    #expect(try list(home).contents().ownLines.map(\.sender) == [Address("bob@mx.test")])
    try list(home).replace(ownLines: [])
    #expect(
      try home.text()
        == "first@admin.example\nnew@admin.example\n\nsecond@admin.example\nlast@admin.example")
  }

  @Test("an administrator's line is never taken for qwarden's")
  func notSwallowed() throws {
    let home = Home()
    for admin in [
      // The same entry without a tag, or far from one that lost its own.
      "alice@mx.test\n", "# qwarden: alice@mx.test is Ann's\nalice@mx.test\n",
      "# qwarden: ask Ann\nalice@mx.test\n", "# qwarden begin here\n# qwarden ended\n# qwarden:\n",
    ] {
      try home.write("control/badmailfrom", admin)
      #expect(try list(home).contents().ownLines == [])
      try list(home).replace(ownLines: [own("alice@mx.test")])
      #expect(try home.text().hasPrefix(admin))
      try list(home).replace(ownLines: [])
      #expect(try home.text() == admin)
    }
    // The tag deleted: the entry is the administrator's from then on.
    try home.write("control/badmailfrom", "")
    try list(home).replace(ownLines: [own("alice@mx.test")])
    let untagged = try home.text().split(separator: "\n", omittingEmptySubsequences: false)
      .filter { !$0.hasPrefix("# qwarden:") }.joined(separator: "\n")
    try home.write("control/badmailfrom", untagged)
    try list(home).replace(ownLines: [])
    #expect(try home.text() == "alice@mx.test\n")
    // Our entry deleted, the tag left, and the same entry written by the administrator after the section.
    try home.write("control/badmailfrom", "")
    try list(home).replace(ownLines: [own("alice@mx.test")])
    let moved = try home.text().replacing("\nalice@mx.test\n", with: "\n") + "alice@mx.test\n"
    try home.write("control/badmailfrom", moved)
    #expect(try list(home).contents().ownLines == [])
    try list(home).replace(ownLines: [])
    #expect(try home.text() == "alice@mx.test\n")
    // The end gone too: nothing of ours confirms the entry further down.
    let tag = "# qwarden begin\n# qwarden: alice@mx.test until 2026-11-24T03:10:00Z: x\n"
    try home.write("control/badmailfrom", tag + "other@mx.test\nalice@mx.test\n")
    try list(home).replace(ownLines: [])
    #expect(try home.text() == "other@mx.test\nalice@mx.test\n")
  }

  @Test("lines written in another dialect are still known")
  func dialectChanged() throws {
    let home = Home()
    try list(home, .regex).replace(ownLines: [own("a+b@mx.test"), own("@spam.example")])
    #expect(try home.text().contains("\n^a\\+b@mx\\.test$\n"))
    #expect(try list(home, .stock).contents().ownLines.count == 2)
    try list(home, .stock).replace(ownLines: [own("a+b@mx.test")])
    #expect(try home.text().contains("\na+b@mx.test\n") && !home.text().contains("^"))
  }

  @Test(
    "over many files and orders of blocking and unblocking, the administrator's bytes are the same")
  func property() throws {
    let home = Home()
    var dice = Dice(seed: 99)
    let lines = [
      "a@b.c", "@d.e", "# note", "", "  x", "y@z.w  ", "cr@x.y\r", "u0@mx.test", "\u{FEFF}bom",
      "# qwarden: no tag",
      "^u1@mx\\.test$", "# qwarden", "é@ü", "\t", "u2@mx.test",
    ]
    for round in 0..<60 {
      var admin = (0..<Int.random(in: 0...6, using: &dice)).map { _ in
        lines.randomElement(using: &dice) ?? ""
      }
      .joined(separator: "\n")
      if Bool.random(using: &dice) { admin += "\n" }
      var bytes = Array(admin.utf8)
      if Int.random(in: 0..<4, using: &dice) == 0 { bytes += [0xFF, 0xC0, 0x41] }
      try home.write("control/badmailfrom", bytes)
      var blocks: [OwnLine] = []
      for _ in 0..<8 {
        let sender = "u\(Int.random(in: 0..<4, using: &dice))@mx.test"
        if let at = blocks.firstIndex(where: { $0.sender == Address(sender) }) {
          blocks.remove(at: at)
        } else {
          blocks.insert(
            own(sender, incident: round), at: Int.random(in: 0...blocks.count, using: &dice))
        }
        let dialect = BadmailfromDialect.allCases.randomElement(using: &dice) ?? .stock
        try list(home, dialect).replace(ownLines: blocks)
        let now = try home.bytes()
        #expect(now.starts(with: bytes))
        #expect(BadmailfromText(now).adminBytes == bytes)
        #expect(BadmailfromText(now).ownLines == blocks)
      }
      try list(home).replace(ownLines: [])
      #expect(try home.bytes() == bytes)
    }
  }

  @Test("owner and mode stay, no temporary file is left")
  func attributes() throws {
    let home = Home()
    for mode: mode_t in [0o644, 0o444, 0o664, 0o604] {
      try home.write("control/badmailfrom", "a@b.c\n", mode: mode)
      if geteuid() == 0 { chown(home.badmailfrom, 12_345, 54_321) }
      let before = try FileStatus.of(home.badmailfrom)
      try list(home).replace(ownLines: [own("alice@mx.test")])
      let after = try FileStatus.of(home.badmailfrom)
      #expect((before.mode, before.uid, before.gid) == (after.mode, after.uid, after.gid))
      #expect(before.inode != after.inode, "replaced, not rewritten")
    }
    #expect(try Descriptor.open(home.control, .directory).names() == ["badmailfrom"])
  }

  @Test("a missing file is made readable to all whatever the umask, and stays empty in the end")
  func created() throws {
    let home = Home()
    #expect(try list(home).contents().ownLines == [])
    #expect(try !list(home).replace(ownLines: []))
    #expect((try? FileStatus.of(home.badmailfrom)) == nil)
    let old = umask(0o077)
    defer { umask(old) }
    try list(home).replace(ownLines: [own("alice@mx.test")])
    #expect(try FileStatus.of(home.badmailfrom).permissions == 0o644)
    try list(home).replace(ownLines: [])
    #expect(try home.bytes() == [])
  }

  @Test("an administrator who saves in the middle of the edit loses nothing")
  func concurrent() throws {
    let home = Home()
    try home.write("control/badmailfrom", "a@b.c\n")
    var saves = 0
    let changed = try list(home).replace(ownLines: [own("alice@mx.test")]) {
      guard saves < 2 else { return }
      saves += 1
      try? home.write("control/badmailfrom", "a@b.c\nsave\(saves)@b.c\n")
    }
    #expect(changed && saves == 2)
    #expect(try home.text().hasPrefix("a@b.c\nsave2@b.c\n# qwarden begin\n"))
    // Also when the file comes into being, or goes, meanwhile.
    unlink(home.badmailfrom)
    var isFirst = true
    _ = try list(home).replace(ownLines: [own("alice@mx.test")]) {
      if isFirst { try? home.write("control/badmailfrom", "new@b.c") }
      isFirst = false
    }
    #expect(try home.text().hasPrefix("new@b.c\n"))
    isFirst = true
    _ = try list(home).replace(ownLines: [own("bob@mx.test")]) {
      if isFirst { unlink(home.badmailfrom) }
      isFirst = false
    }
    #expect(try home.text().hasPrefix("# qwarden begin\n"))
  }

  @Test("an administrator who never stops saving is left alone, and it is said")
  func busy() throws {
    let home = Home()
    var saves = 0
    do throws(BadmailfromError) {
      _ = try list(home).replace(ownLines: [own("alice@mx.test")]) {
        saves += 1
        try? home.write("control/badmailfrom", "save\(saves)@b.c\n")
      }
      Issue.record("written")
    } catch {
      #expect(error.kind == .busy && error.exitCode == 75)
    }
    #expect(try home.text() == "save5@b.c\n")
    #expect(try home.held == [], "each try has closed what it opened")
    #expect(try Descriptor.open(home.control, .directory).names() == ["badmailfrom"])
  }

  @Test("a file that an editor has open for writing is left to it, and written when it is closed")
  func openEditor() throws {
    let home = Home()
    try home.write("control/badmailfrom", "a@b.c\n")
    do {
      let editor = try Descriptor.open(home.badmailfrom, .readWrite)
      #expect(failure(home)?.kind == .busy)
      #expect(failure(home)?.remedy?.hasPrefix("close the editor") == true)
      #expect(try home.text() == "a@b.c\n")
      #expect(try Descriptor.open(home.control, .directory).names() == ["badmailfrom"])
      try editor.write(Array("in place\n".utf8), at: 6)
    }
    let reader = try Descriptor.open(home.badmailfrom)
    #expect(failure(home) == nil)
    #expect(try home.text().hasPrefix("a@b.c\nin place\n# qwarden begin\n"))
    #expect(try reader.readAll(limit: 100) == Array("a@b.c\nin place\n".utf8))
  }

  /// An editor begins to add a line in place: its open waits while the file is held.
  private func edit(_ path: String, _ done: DispatchSemaphore) {
    let begun = DispatchSemaphore(value: 0)
    Thread.detachNewThread {
      begun.signal()
      let editor = open(path, O_WRONLY | O_APPEND)
      write(editor, "in place\n", 9)
      close(editor)
      done.signal()
    }
    begun.wait()
    usleep(200_000)
  }

  @Test("an editor that opens the file just before it is replaced is seen, and loses nothing")
  func editorOpens() throws {
    let home = Home()
    try home.write("control/badmailfrom", "a@b.c\n")
    let path = home.badmailfrom
    let done = DispatchSemaphore(value: 0)
    var isFirst = true
    let changed = try list(home).replace(ownLines: [own("alice@mx.test")]) {
      guard isFirst else { return done.wait() }
      isFirst = false
      edit(path, done)
    }
    #expect(changed)
    #expect(try home.text().hasPrefix("a@b.c\nin place\n# qwarden begin\n"))
  }

  @Test("an editor that had found the file by its name when it was replaced loses nothing either")
  func editorComesLate() throws {
    let home = Home()
    try home.write("control/badmailfrom", "a@b.c\n")
    let replaced = "\(home.control)/.badmailfrom.qwarden-new"
    let done = DispatchSemaphore(value: 0)
    var looks = 0
    let changed = try list(home).replace(
      ownLines: [own("alice@mx.test")], beforeLastLook: { if looks == 1 { done.wait() } },
      beforeSecondLook: {
        looks += 1
        guard looks == 1 else { return }
        edit(replaced, done)
      })
    #expect(changed && looks == 2)
    #expect(try home.text().hasPrefix("a@b.c\nin place\n# qwarden begin\n"))
    #expect(!FileManager.default.fileExists(atPath: replaced))
  }

  @Test("what cannot be replaced without harm is refused, with the reason, and left as it is")
  func refusals() throws {
    let home = Home()
    try home.write("control/real", "a@b.c\n")
    symlink("real", home.badmailfrom)
    #expect(failure(home)?.message.contains("symbolic link") == true)
    #expect(try home.text("control/real") == "a@b.c\n")
    unlink(home.badmailfrom)

    link("\(home.control)/real", home.badmailfrom)
    #expect(failure(home)?.message.contains("2 hard links") == true)
    unlink(home.badmailfrom)

    mkdir(home.badmailfrom, 0o755)
    #expect(failure(home)?.message.contains("is not a file") == true)
    rmdir(home.badmailfrom)
    mkfifo(home.badmailfrom, 0o644)
    #expect(failure(home)?.message.contains("is not a file") == true)
    unlink(home.badmailfrom)

    try home.write("control/badmailfrom", "a@b.c\0d@e.f\n")
    #expect(failure(home)?.message.contains("NUL") == true)
    try home.write("control/badmailfrom", [UInt8](repeating: 10, count: (8 << 20) + 1))
    #expect(failure(home)?.message.contains("longer than 8 MiB") == true)

    try home.write("control/badmailfrom", "a@b.c\n")
    #expect(failure(home, nil)?.kind == .unknownDialect)
    #expect(failure(home, nil)?.description.contains("name the dialect in the policy") == true)
    #expect(failure(home, .stock, "!alice@mx.test")?.kind == .unblockable)
    #expect(failure(home, .stock, "")?.message.contains("null sender") == true)
    try home.write("control/badmailfrom.cdb", "x")
    #expect(failure(home)?.message.contains(".cdb") == true)
    #expect(try home.text() == "a@b.c\n")
    #expect(failure(home)?.exitCode == 65)
    unlink("\(home.control)/badmailfrom.cdb")
    #expect(failure(home) == nil)
  }

  @Test("a file hidden from qmail-smtpd is not replaced by another hidden one")
  func hidden() throws {
    guard geteuid() == 0 else { return }
    let home = Home()
    for (mode, owner, isRefused): (mode_t, (uid_t, gid_t), Bool) in [
      (0o600, (0, 0), true), (0o640, (0, 0), true), (0o640, (0, 77), false),
      (0o400, (77, 0), false),
      (0o604, (0, 0), false),
    ] {
      try home.write("control/badmailfrom", "a@b.c\n", mode: mode)
      chown(home.badmailfrom, owner.0, owner.1)
      #expect(
        (failure(home)?.message.contains("421") == true) == isRefused, "\(String(mode, radix: 8))")
      #expect(try FileStatus.of(home.badmailfrom).permissions == UInt32(mode))
    }
  }

  @Test("no directory: an error with its exit code")
  func noDirectory() throws {
    do throws(BadmailfromError) {
      try Badmailfrom(control: "/nowhere/control", dialect: .stock).replace(ownLines: [own("a@b.c")]
      )
      Issue.record("written")
    } catch {
      #expect(error.exitCode == 73)
      #expect(error.description.hasPrefix("/nowhere/control"))
    }
  }

  @Test("50,000 lines of the administrator's are kept, quickly")
  func large() throws {
    let home = Home()
    let admin = (0..<50_000).map { "user\($0)@host\($0 % 7).example" }.joined(separator: "\n")
    try home.write("control/badmailfrom", admin)
    try list(home).replace(ownLines: [own("alice@mx.test")])
    let isKept = try home.bytes().starts(with: admin.utf8)
    #expect(isKept)
    try list(home).replace(ownLines: [])
    #expect(try home.text() == admin)
  }

  @Test("lines that end in CR never match, and that is told")
  func carriageReturns() throws {
    let home = Home()
    try home.write("control/badmailfrom", "A@b.c\n@d.e \t\n#f@g.h\nl@m.n\r\no.p\n")
    try list(home).replace(ownLines: [own("own@b.c")])
    #expect(
      try list(home).contents().notes == [
        "\(home.badmailfrom): 1 of 4 entries end in CR (DOS line ends), so qmail-smtpd never matches them"
      ])
  }

  @Test("a tag is read back as it was written, and nothing else is a tag")
  func tags() {
    for line in [
      own("a@b.c"), own("@b.c", incident: nil, reason: ""),
      own("a@b.c", incident: 0, reason: ": , until x"),
    ] {
      #expect(OwnLine(tag: line.tag[...]) == line)
    }
    var mangled = own("a@b.c")
    mangled.until = nil
    #expect(OwnLine(tag: mangled.tag[...]) == mangled)
    #expect(
      OwnLine(tag: Array("# qwarden: a@b.c until 2026-02-31T00:00:00Z: x".utf8)[...])?.until == nil)
    for other in [
      "", "# qwarden: ", "# qwarden:a@b.c until x", "#qwarden: a@b.c until x", "# qwarden: a@b.c",
      "a@b.c",
    ] {
      #expect(OwnLine(tag: Array(other.utf8)[...]) == nil)
    }
    #expect(own("a@b.c", reason: String(repeating: "x", count: 5000)).reason.count == 120)
  }
}
