import Glibc
import Testing

@testable import Systemd

@Suite struct JournalTests {
  @Test(
    "entries arrive in a real journal with every field, hostile bytes unchanged",
    .enabled(if: JournalLab.obstacle == nil, "\(JournalLab.obstacle ?? "")"))
  func realJournal() throws {
    let hostile = Array("a@b\nPRIORITY=0\nMESSAGE_ID=0\0\u{1B}[31m\n".utf8) + [0xFF, 0xFE, 0]
    let withNul = Array("before\0after".utf8)
    let entries = try JournalLab.entries {
      try Journal.send(
        .stormBegan, "storm of\nalice@mx.test\u{0}", priority: .alert,
        [
          JournalField(.incident, 7), JournalField(.kind, "relay-sender"),
          JournalField(.offender, bytes: hostile), JournalField(.offender, "second"),
          JournalField(.reason, bytes: withNul), JournalField(.victim, ""),
        ])
    }
    try #require(entries.count == 1)
    let entry = entries[0]
    #expect(entry.text("MESSAGE") == "storm of alice@mx.test ")
    #expect(entry.text("MESSAGE_ID") == MessageID.stormBegan.id)
    #expect(entry.values("MESSAGE_ID").count == 1)
    #expect(entry.values("PRIORITY") == [Array("1".utf8)])
    #expect(entry.text("QWARDEN_EVENT") == "storm-began")
    #expect(entry.text("QWARDEN_INCIDENT") == "7")
    #expect(entry.text("QWARDEN_KIND") == "relay-sender")
    #expect(Set(entry.values("QWARDEN_OFFENDER")) == [hostile, Array("second".utf8)])
    #expect(entry.values("QWARDEN_REASON") == [withNul])
    #expect(entry.values("QWARDEN_VICTIM") == [[]])
    #expect(entry.text("_PID") == "\(getpid())")
  }

  @Test(
    "a huge value is cut with a mark, and a flood of fields is bounded",
    .enabled(if: JournalLab.obstacle == nil, "\(JournalLab.obstacle ?? "")"))
  func bounds() throws {
    let huge = [UInt8](repeating: UInt8(ascii: "x"), count: 5_000_000)
    let fits = [UInt8](repeating: UInt8(ascii: "y"), count: Journal.valueLimit)
    let entries = try JournalLab.entries {
      try Journal.send(
        .degraded, "big", priority: .warning,
        [JournalField(.reason, bytes: huge), JournalField(.path, bytes: fits)])
      try Journal.send(
        .degraded, "many", priority: .warning, (0..<5000).map { JournalField(.victim, "v\($0)") })
    }
    try #require(entries.map { $0.text("MESSAGE") } == ["big", "many"])
    let value = try #require(entries[0].values("QWARDEN_REASON").first)
    #expect(value.count == Journal.valueLimit)
    #expect(value.suffix(5) == Array("[cut]".utf8)[...])
    #expect(entries[0].values("QWARDEN_PATH") == [fits])
    #expect(entries[1].values("QWARDEN_VICTIM").count == Journal.fieldLimit)
  }

  @Test(
    "without journald the caller hears of it, though libsystemd says nothing",
    .enabled(if: JournalLab.obstacle == nil, "\(JournalLab.obstacle ?? "")"))
  func noJournald() throws {
    let outcome = try JournalLab.onPrivateMounts {
      Result { () throws(JournalError) in
        try Journal.send(.started, "hello", priority: .info)
      }
    }
    #expect(throws: JournalError.noJournal(socket: Journal.socket)) { try outcome.get() }
  }

  @Test("standard error is the journal only when device and inode agree")
  func journalStream() throws {
    try withTemporaryFolder { folder in
      let descriptor = open("\(folder)/stream", O_CREAT | O_WRONLY | O_CLOEXEC, 0o600)
      defer { close(descriptor) }
      var status = stat()
      #expect(fstat(descriptor, &status) == 0)
      #expect(Journal.isStream(descriptor, "\(status.st_dev):\(status.st_ino)"))
      #expect(!Journal.isStream(descriptor, "\(status.st_dev):\(status.st_ino + 1)"))
      #expect(!Journal.isStream(descriptor, "hello"))
      #expect(!Journal.isStream(descriptor, nil))
      #expect(!Journal.isStream(-1, "0:0"))
    }
  }

  @Test("every field name is one that journald keeps, and none is written twice by accident")
  func fieldNames() {
    for name in JournalField.Name.allCases.map(\.rawValue) {
      #expect(name.hasPrefix("QWARDEN_") && name.utf8.count <= 64, "\(name)")
      #expect(
        name.utf8.allSatisfy { (65...90).contains($0) || (48...57).contains($0) || $0 == 95 },
        "\(name)")
    }
    #expect(!JournalField.Name.allCases.map(\.rawValue).contains("QWARDEN_EVENT"))
  }
}
