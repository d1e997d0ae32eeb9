import Glibc
import Testing

@testable import Systemd

@Suite struct JournalReaderTests {
  /// Logs lines under a tag, one entry each, as a service's standard output does.
  private static func log(_ lines: [String], tag: String = "qmail") throws {
    try withTemporaryFolder { folder in
      try write(lines.map { $0 + "\n" }.joined(), to: "\(folder)/lines")
      let result = try run(
        "/usr/bin/systemd-cat", "-t", tag, "/bin/cat", "\(folder)/lines")
      #expect(result.status == 0)
    }
    try sync()
  }

  private static func sync() throws { try run("/usr/bin/journalctl", "--sync") }

  private static func messages(_ reader: JournalReader) throws -> [String] {
    reader.acknowledge()
    var found: [String] = []
    while let entry = try reader.next() {
      found.append(String(decoding: entry.message, as: UTF8.self))
    }
    return found
  }

  private static func isReadable(_ reader: JournalReader, within milliseconds: Int32) -> Bool {
    var wait = pollfd(fd: reader.descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&wait, 1, milliseconds) == 1
  }

  @Test(
    "only what is logged under the tag, from now on; then from the cursor on",
    .enabled(if: JournalLab.obstacle == nil, "\(JournalLab.obstacle ?? "")"))
  func follow() throws {
    _ = try JournalLab.entries {
      try Self.log(["old"])
      let reader = try JournalReader(.identifier("qmail"))
      #expect(try Self.messages(reader) == [])
      #expect(try reader.recent(atMost: 5).map(\.message) == [Array("old".utf8)])
      try Self.log(["hello"], tag: "other")
      try Self.log(["new msg 1", "info msg 1: bytes 2 from <\u{1B}[2Já> qp 3 uid 4"])
      #expect(Self.isReadable(reader, within: 2000))
      #expect(
        try Self.messages(reader) == [
          "new msg 1", "info msg 1: bytes 2 from <\u{1B}[2Já> qp 3 uid 4",
        ])
      #expect(!Self.isReadable(reader, within: 0))
      let cursor = try #require(reader.cursor)

      try Self.log(["end msg 1", "new msg 2"])
      let second = try JournalReader(.identifier("qmail"))
      #expect(try Self.messages(second) == [])
      #expect(try second.seek(after: cursor))
      #expect(try Self.messages(second) == ["end msg 1", "new msg 2"])
      #expect(try Self.messages(second) == [])
      #expect(try second.seek(after: try #require(second.cursor)))
      #expect(try Self.messages(second) == [])
      try second.seek(microseconds: 0)
      #expect(try Self.messages(second).count == 5)
      #expect(try second.recent(atMost: 2).map(\.message.count) == [9, 9])
      #expect(try Self.messages(second) == [])
      #expect(try Self.messages(reader) == ["end msg 1", "new msg 2"])
      let clock = try #require(
        try {
          try second.seek(microseconds: 0); return try second.next()
        }())
      var now = timespec()
      clock_gettime(CLOCK_REALTIME, &now)
      #expect(abs(Int(clock.microseconds / 1_000_000) - now.tv_sec) < 60)

      let unit = try JournalReader(.unit("qmail-send.service"))
      #expect(try unit.recent(atMost: 10) == [])
    }
  }

  @Test(
    "the journal rotates and is cleared: reading goes on, and a lost place is told",
    .enabled(if: JournalLab.obstacle == nil, "\(JournalLab.obstacle ?? "")"))
  func cleared() throws {
    _ = try JournalLab.entries {
      try Self.log(["a", "b"])
      let reader = try JournalReader(.identifier("qmail"))
      let cursor = try #require(reader.cursor)
      try run("/usr/bin/journalctl", "--rotate")
      try Self.log(["c"])
      #expect(try Self.messages(reader) == ["c"])
      try Self.log(["d"])
      try run("/usr/bin/journalctl", "--rotate")
      try run("/usr/bin/journalctl", "--vacuum-files=1", "--vacuum-time=1s", "--vacuum-size=1")
      try Self.log(["e", "f"])
      let second = try JournalReader(.identifier("qmail"))
      #expect(try !second.seek(after: cursor))
      #expect(try Self.messages(second) == ["e", "f"])
      #expect(try !second.seek(after: "no cursor at all"))
      #expect(try Self.messages(second) == [])
      try Self.log(["g"])
      #expect(try Self.messages(second) == ["g"])
      #expect(try Self.messages(reader).last == "g")
    }
  }

  @Test(
    "a journal that is not there is told as that",
    .enabled(if: JournalLab.obstacle == nil, "\(JournalLab.obstacle ?? "")"))
  func absent() throws {
    let outcome = try JournalLab.onPrivateMounts {
      Result { () throws(JournalReader.Failure) in try JournalReader(.identifier("qmail")) }
    }
    #expect(throws: JournalReader.Failure.noFiles) { _ = try outcome.get() }
  }
}
