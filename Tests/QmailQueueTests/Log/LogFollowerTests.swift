import Files
import Fixtures
import Glibc
import Mail
import Testing

@testable import QmailQueue

@Suite("Following a log in files") struct LogFollowerTests {
  let fixture = LogFixture()
  let later = LogFixture.start + .seconds(1_000_000)

  @Test(
    "the first time it begins at the end, and a half-written line is waited for",
    arguments: [nil, "mail.log"])
  func begin(name: String?) {
    let file = name ?? "current"
    fixture.log(3, to: file, LogFixture.multilog)
    fixture.append("@400000006", to: file)
    let follower = fixture.follower(name)
    #expect(follower.position == nil)
    #expect(follower.read(at: later).observations.isEmpty)
    fixture.append("a6b6c6d00000000 end m", to: file)
    #expect(follower.read(at: later).observations.isEmpty)
    fixture.append("sg 77\nnew", to: file)
    #expect(follower.read(at: later).ended == [77])
    #expect(follower.unread == 3)
    fixture.append(" msg 5\n", to: file)
    let found = follower.read(at: later)
    #expect(found.observations.map(\.event) == [.log(.new(id: 5))])
    #expect(found.notes == [] && !found.hasMore)
    #expect(follower.unread == 0)
  }

  @Test("a log that is not there yet is told once, and read from its beginning when it comes")
  func appears() {
    let follower = fixture.follower("mail.log")
    #expect(follower.read(at: later).notes.count == 1)
    #expect(follower.read(at: later).notes == [])
    let ids = fixture.log(2, to: "mail.log", LogFixture.splogger)
    #expect(follower.read(at: later).ended == ids)
  }

  @Test("a log that goes away is told once it has been gone for longer than a rotation takes")
  func vanishes() {
    fixture.log(1, to: "current", LogFixture.multilog)
    let follower = fixture.follower()
    _ = follower.read(at: later)
    unlink(fixture.path("current"))
    #expect(follower.read(at: later).notes == [])
    #expect(follower.read(at: later + .seconds(50)).notes == [])
    #expect(follower.read(at: later + .seconds(61)).notes.count == 1)
    #expect(follower.read(at: later + .seconds(62)).notes == [])
    let ids = fixture.log(2, to: "current", LogFixture.multilog)
    let found = follower.read(at: later + .seconds(63))
    #expect(found.ended == ids)
    #expect(found.notes == [])
  }

  @Test("its directory is made anew: rotation in it is seen at once as before")
  func replacedFolder() throws {
    fixture.log(1, to: "current", LogFixture.multilog)
    let follower = fixture.follower()
    _ = follower.read(at: later)
    rename(fixture.folder, "\(fixture.folder).old")
    defer { TemporaryFolder.remove("\(fixture.folder).old") }
    mkdir(fixture.folder, 0o755)
    let ids = fixture.log(2, to: "current", LogFixture.multilog)
    #expect(follower.read(at: later).ended == ids)
    let number = try #require(follower.eventDescriptor)
    rename(fixture.path("current"), fixture.path("other"))
    follower.acknowledge()
    fixture.append("", to: "current")
    var wait = pollfd(fd: number, events: Int16(POLLIN), revents: 0)
    #expect(poll(&wait, 1, 0) == 1)
  }

  @Test("its descriptor is readable when the log grows or is rotated, and quiet after reading")
  func events() throws {
    fixture.log(1, to: "current", LogFixture.multilog)
    let follower = fixture.follower()
    _ = follower.read(at: later)
    let number = try #require(follower.eventDescriptor)
    func isReadable() -> Bool {
      var wait = pollfd(fd: number, events: Int16(POLLIN), revents: 0)
      return poll(&wait, 1, 0) == 1
    }
    #expect(!isReadable())
    fixture.log(1, to: "current", LogFixture.multilog)
    #expect(isReadable())
    #expect(follower.read(at: later).ended.count == 1)
    #expect(!isReadable())
    fixture.rotateMultilog()
    #expect(isReadable())
    follower.acknowledge()
    #expect(!isReadable())
    fixture.log(1, to: "current", LogFixture.multilog)
    #expect(follower.read(at: later).ended.count == 1)
    fixture.log(1, to: "current", LogFixture.multilog)
    #expect(isReadable())
  }

  @Test("multilog rotates again and again, looked at each time or not: every line once")
  func multilog() {
    fixture.log(1, to: "current", LogFixture.multilog)
    let follower = fixture.follower()
    _ = follower.read(at: later)
    var written: [UInt64] = []
    var read: [UInt64] = []
    for round in 0..<40 {
      written += fixture.log(7, to: "current", LogFixture.multilog)
      if round % 3 == 0 { read += follower.read(at: later).ended }
      fixture.rotateMultilog()
      if round % 2 == 0 { read += follower.read(at: later).ended }
    }
    written += fixture.log(1, to: "current", LogFixture.multilog)
    let last = follower.readAll(at: later, atMost: 100)
    #expect(read + last.ended == written)
    #expect(last.notes == [])
  }

  @Test(
    "syslog's file renamed and made anew: what the writer still puts into the old one is read first"
  )
  func renamed() {
    fixture.log(1, to: "mail.log", LogFixture.splogger)
    let follower = fixture.follower("mail.log")
    _ = follower.read(at: later)
    var written = fixture.log(2, to: "mail.log", LogFixture.splogger)
    rename(fixture.path("mail.log"), fixture.path("mail.log.1"))
    var found = follower.read(at: later)
    #expect(found.ended == written)
    fixture.append("", to: "mail.log")
    // Until it is told to open it again, syslogd writes on to the old file.
    written = fixture.log(2, to: "mail.log.1", LogFixture.splogger)
    found = follower.read(at: later)
    #expect(found.ended == written)
    written = fixture.log(1, to: "mail.log.1", LogFixture.splogger)
    written += fixture.log(2, to: "mail.log", LogFixture.splogger)
    found = follower.read(at: later)
    #expect(found.ended == written)
    // Compressed at once: the old one is gone by name.
    written = fixture.log(2, to: "mail.log", LogFixture.splogger)
    fixture.append("\u{1F}junk", to: "mail.log.2.gz")
    unlink(fixture.path("mail.log"))
    written += fixture.log(2, to: "mail.log", LogFixture.splogger)
    found = follower.read(at: later)
    #expect(found.ended == written)
    #expect(found.notes == [] && found.statistics.foreign == 0)
  }

  private func copyAndTruncate(_ name: String) throws {
    unlink(fixture.path("\(name).1"))
    fixture.append(
      try Descriptor.open(fixture.path(name)).readAll(limit: 1 << 20), to: "\(name).1")
    truncate(fixture.path(name), 0)
  }

  @Test(
    "copied and truncated: what was not read yet is read from the copy, even when the new one has grown longer"
  )
  func copyTruncate() throws {
    fixture.log(1, to: "mail.log", LogFixture.splogger)
    let follower = fixture.follower("mail.log")
    _ = follower.read(at: later)
    for round in 1...4 {
      var written = fixture.log(2, to: "mail.log", LogFixture.splogger)
      try copyAndTruncate("mail.log")
      if round == 2 {
        #expect(follower.read(at: later).ended == written)
        written = []
      }
      written += fixture.log(round * 5, to: "mail.log", LogFixture.splogger)
      let found = follower.read(at: later)
      #expect(found.ended == written, "round \(round)")
      #expect(found.notes == [])
    }
  }

  @Test("truncated without a copy: a gap is told, and reading goes on")
  func truncated() {
    fixture.log(5, to: "mail.log", LogFixture.splogger)
    let follower = fixture.follower("mail.log")
    _ = follower.read(at: later)
    truncate(fixture.path("mail.log"), 0)
    let written = fixture.log(2, to: "mail.log", LogFixture.splogger)
    let found = follower.read(at: later)
    #expect(found.ended == written)
    #expect(found.notes.count == 1 && found.statistics.gaps == 1)
    #expect(follower.read(at: later).notes == [])
  }

  @Test("multilog removed files unread: what is left is read once, and a gap is told")
  func outrun() {
    fixture.log(3, to: "current", LogFixture.multilog)
    let follower = fixture.follower()
    _ = follower.read(at: later)
    var kept: [UInt64] = []
    for _ in 0..<5 {
      kept = Array((kept + fixture.log(3, to: "current", LogFixture.multilog)).suffix(6))
      fixture.rotateMultilog(keeping: 3)
    }
    kept += fixture.log(1, to: "current", LogFixture.multilog)
    let found = follower.read(at: later)
    // The file that was open is read to its end although it has no name any more.
    #expect(found.ended == [4, 5, 6] + kept)
    #expect(found.statistics.gaps == 1 && found.notes.count == 1)
  }

  @Test("multilog's processor puts a copy in place of what was read: nothing twice, and no gap")
  func processed() throws {
    fixture.log(2, to: "current", LogFixture.multilog)
    fixture.rotateMultilog()
    let follower = fixture.follower()
    _ = follower.read(at: later)
    var written = fixture.log(2, to: "current", LogFixture.multilog)
    fixture.rotateMultilog()
    let old = try #require(fixture.names.last { $0.hasPrefix("@") })
    let bytes = try Descriptor.open(fixture.path(old)).readAll(limit: 1 << 20)
    fixture.append(bytes, to: "processed")
    rename(fixture.path("processed"), fixture.path(old))
    written += fixture.log(1, to: "current", LogFixture.multilog)
    let found = follower.read(at: later)
    #expect(found.ended == written)
    #expect(found.notes == [])
  }

  // MARK: Resuming

  private func saved(_ follower: LogFollower) throws -> LogPosition {
    let position = try #require(follower.position)
    try position.write(fixture.path(".position"))
    defer { unlink(fixture.path(".position")) }
    let read = try #require(LogPosition.read(fixture.path(".position")))
    #expect(read == position)
    return read
  }

  @Test(
    "after a restart it goes on where it stopped, through any number of rotations", arguments: 0...3
  )
  func resumeMultilog(rotations: Int) throws {
    fixture.log(3, to: "current", LogFixture.multilog)
    let first = fixture.follower()
    _ = first.read(at: fixture.clock)
    fixture.log(2, to: "current", LogFixture.multilog)
    #expect(first.read(at: fixture.clock).ended.count == 2)
    let position = try saved(first)
    var written = fixture.log(2, to: "current", LogFixture.multilog)
    for _ in 0..<rotations {
      fixture.rotateMultilog()
      written += fixture.log(2, to: "current", LogFixture.multilog)
    }
    let found = fixture.follower(resuming: position).read(at: later)
    #expect(found.ended == written)
    #expect(found.notes == [])
  }

  @Test(
    "after a restart, syslog's file was renamed, or copied and truncated", arguments: [true, false])
  func resumeSyslog(isCopied: Bool) throws {
    fixture.log(8, to: "mail.log", LogFixture.splogger)
    let first = fixture.follower("mail.log")
    _ = first.read(at: fixture.clock)
    let position = try saved(first)
    var written = fixture.log(2, to: "mail.log", LogFixture.splogger)
    if isCopied {
      try copyAndTruncate("mail.log")
    } else {
      rename(fixture.path("mail.log"), fixture.path("mail.log.1"))
    }
    written += fixture.log(12, to: "mail.log", LogFixture.splogger)
    let found = fixture.follower("mail.log", resuming: position).read(at: later)
    #expect(found.ended == written)
    #expect(found.notes == [])
  }

  @Test("the file was rotated away meanwhile: a gap is told, and only what is newer is read")
  func resumeGap() throws {
    fixture.log(3, to: "current", LogFixture.multilog)
    let first = fixture.follower()
    _ = first.read(at: fixture.clock)
    let position = try saved(first)
    for _ in 0..<4 {
      fixture.rotateMultilog(keeping: 2)
      fixture.log(3, to: "current", LogFixture.multilog)
    }
    let found = fixture.follower(resuming: position).read(at: later)
    #expect(found.ended == Array(10...15))
    #expect(found.statistics.gaps == 1)
    #expect(found.notes.first?.contains("2026-11-23T") == true)
  }

  @Test("an inode number that came back with other content is no place to go on")
  func reused() throws {
    fixture.log(3, to: "mail.log", LogFixture.splogger)
    let first = fixture.follower("mail.log")
    _ = first.read(at: fixture.clock)
    let position = try saved(first)
    truncate(fixture.path("mail.log"), 0)
    let written = fixture.log(30, to: "mail.log", LogFixture.splogger)
    let found = fixture.follower("mail.log", resuming: position).read(at: later)
    #expect(found.ended == written)
    #expect(found.statistics.gaps == 1)
  }

  @Test("after a long pause only the last hour is news")
  func oldest() throws {
    fixture.log(1, to: "mail.log", LogFixture.splogger)
    let first = fixture.follower("mail.log")
    _ = first.read(at: fixture.clock)
    let position = try saved(first)
    fixture.log(10, to: "mail.log", LogFixture.splogger)
    let begin = fixture.clock
    let written = fixture.log(4, to: "mail.log", LogFixture.splogger)
    let found = fixture.follower("mail.log", resuming: position, oldest: begin).read(at: later)
    #expect(found.ended == written)
    #expect(found.statistics.gaps == 1)
  }

  @Test("a restart between two pieces of splogger's loses neither")
  func resumePiece() throws {
    fixture.log(1, to: "mail.log", LogFixture.splogger)
    let first = fixture.follower("mail.log")
    _ = first.read(at: fixture.clock)
    let text = "delivery 3: failure: " + String(repeating: "x", count: 1000)
    let stamp = LogFixture.splogger(fixture.clock).dropLast()
    fixture.append("\(stamp) \(text.prefix(799))\n", to: "mail.log")
    #expect(first.read(at: later).observations.isEmpty)
    let position = try saved(first)
    fixture.append("\(stamp)+\(text.dropFirst(799))\n", to: "mail.log")
    let second = fixture.follower("mail.log", resuming: position)
    #expect(second.read(at: later).observations.map(\.event) == [.log(SendLogLine(text))])
    // One that was whole by chance is not kept for ever.
    let whole = "delivery 4: failure: " + String(repeating: "y", count: 799 - 21)
    fixture.append("\(stamp) \(whole)\n", to: "mail.log")
    #expect(second.read(at: later).observations.isEmpty)
    #expect(second.read(at: later + .seconds(1)).observations.isEmpty)
    #expect(
      second.read(at: later + .seconds(3)).observations.map(\.event) == [.log(SendLogLine(whole))])
  }

  @Test("a position file that is none is no position")
  func damagedPosition() throws {
    let path = fixture.path("position")
    for text in [
      "", "\n", "qwarden-log 1\n", "qwarden-log 2\n/x\n1\ncursor s=1\n",
      "qwarden-log 1\n/x\n1\nfile 1 2\n",
      "qwarden-log 1\n/x\n1\nfile 1 10 20 5\n", "qwarden-log 1\n/x\n1\nfile 1 -1 0 5\n",
      "qwarden-log 1\n/x\ny\ncursor s=1\n", "qwarden-log 1\n/x\n1\ncursor s=1\nmore\n",
    ] {
      unlink(path)
      fixture.append(text, to: "position")
      #expect(LogPosition.read(path) == nil, "\(text)")
    }
    #expect(LogPosition.read("/nowhere/position") == nil)
  }

  @Test("a line without end is cut, counted and passed over in bounded memory")
  func longLine() {
    fixture.log(1, to: "current", LogFixture.multilog)
    let follower = fixture.follower()
    _ = follower.read(at: later)
    fixture.append("@400000006a6b6c6d00000000 delivery 1: failure: ", to: "current")
    for _ in 0..<40 { fixture.append([UInt8](repeating: 0, count: 10_000), to: "current") }
    #expect(follower.read(at: later, atMost: 100_000).hasMore)
    fixture.append("\n", to: "current")
    let written = fixture.log(1, to: "current", LogFixture.multilog)
    let found = follower.readAll(at: later, atMost: 100_000)
    #expect(found.ended == written)
  }

  @Test("one reading takes no more than it was asked to")
  func bounded() {
    fixture.log(1, to: "current", LogFixture.multilog)
    let follower = fixture.follower()
    _ = follower.read(at: later)
    let line = "@400000006a6b6c6d00000000 new msg 1234567\n"
    fixture.append(String(repeating: line, count: 50_000), to: "current")
    let begun = WallClock.monotonic()
    let first = follower.read(at: later)
    #expect(first.hasMore)
    #expect(first.observations.count < 30_000)
    #expect(follower.readAll(at: later).observations.count + first.observations.count == 50_000)
    // A second as a rule; six under the address sanitizer on a busy machine.
    #expect(WallClock.monotonic() - begun < 20_000_000_000)
  }

  @Test("qmail-send's last line is found in a file or a directory, and no other's is taken for it")
  func lastLine() {
    #expect(LogFollower.lastLine(of: fixture.folder, tag: "qmail") == nil)
    fixture.log(2, to: "current", LogFixture.multilog)
    fixture.rotateMultilog()
    #expect(LogFollower.lastLine(of: fixture.folder, tag: "qmail") == fixture.clock)
    fixture.append("Nov 23 17:41:02 mx dovecot: hello\n", to: "mail.log")
    #expect(LogFollower.lastLine(of: fixture.path("mail.log"), tag: "qmail") == nil)
    fixture.log(1, to: "mail.log", LogFixture.splogger)
    #expect(LogFollower.lastLine(of: fixture.path("mail.log"), tag: "qmail") == fixture.clock)
    #expect(LogFollower.lastLine(of: fixture.path("mail.log"), tag: "other") == nil)
  }
}
