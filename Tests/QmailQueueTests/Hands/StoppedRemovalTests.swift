import Glibc
import Mail
import Testing

@testable import QmailQueue

/// What a kill in the middle of taking a message out of todo leaves, and what is made of it.
@Suite struct StoppedRemovalTests {
  private static let taken = HandsFixture.birth + .seconds(100)

  private func queued(_ fixture: HandsFixture, _ id: UInt64) throws -> EntryIdentity {
    let layout = fixture.layout
    try fixture.write("Received: x\n\nbody\n", to: layout.path(.mess, id))
    fixture.setBirth(layout.path(.mess, id), HandsFixture.birth)
    try fixture.write(
      "u33\0p5\0Falice@mx.test\0Ta@x.example\0Tb@y.example\0", to: layout.path(.intd, id))
    link(layout.path(.intd, id), layout.path(.todo, id))
    fixture.setBirth(layout.path(.todo, id), HandsFixture.birth)
    return EntryIdentity(id: id, birth: HandsFixture.birth)
  }

  private func copied(_ fixture: HandsFixture, _ store: QuarantineStore) throws -> EntryIdentity {
    let identity = try queued(fixture, 7)
    var retirement = try UnprocessedRetirement.open(
      identity, sender: Address("alice@mx.test"), in: fixture.layout)
    try retirement.copy(into: store, at: Self.taken, boot: "boot")
    return identity
  }

  private func note(_ store: QuarantineStore, _ identity: EntryIdentity) throws {
    var envelope = try store.open(identity)
    for index in envelope.message.recipients.indices { try envelope.set(.marked, of: index) }
  }

  private func unlinkAll(_ fixture: HandsFixture, _ kinds: [QueueFile]) {
    for kind in kinds { unlink(fixture.layout.path(kind, 7)) }
  }

  private func recover(_ fixture: HandsFixture, _ store: QuarantineStore, _ identity: EntryIdentity)
    throws -> Recovery.Outcome
  {
    let look = try fixture.look()
    return try Recovery.finish(
      identity, in: fixture.layout, store: store, look: look, boot: "boot", lookAgain: { look })
  }

  @Test(
    "taken out of todo, every file of the message is gone, and the copy has all of its recipients")
  func whole() throws {
    let fixture = try HandsFixture()
    let store = try fixture.store()
    let identity = try queued(fixture, 7)
    // As a qmail-send that was killed while it took the message in leaves it.
    try fixture.write("Falice@mx.test\0", to: fixture.layout.path(.info, 7))
    try fixture.write("Ta@x.ex", to: fixture.layout.path(.remote, 7))
    var retirement = try UnprocessedRetirement.open(
      identity, sender: Address("alice@mx.test"), in: fixture.layout)
    try retirement.copy(into: store, at: Self.taken, boot: "boot")
    try store.syncBatch()
    try retirement.note()
    try retirement.remove()
    #expect(fixture.exists(fixture.layout.path(.mess, 7)))
    try retirement.clear()
    #expect(QueueFile.allCases.allSatisfy { !fixture.exists(fixture.layout.path($0, 7)) })
    let message = try store.read(identity)
    #expect(message.recipients.map(\.address.description) == ["a@x.example", "b@y.example"])
    #expect(message.recipients.allSatisfy { $0.state == .marked && $0.channel == .remote })
    #expect(message.phase == .marked)
    #expect(try recover(fixture, store, identity) == .quarantined(markedNow: 0))
    #expect(try store.read(identity).count(.marked) == 2)
  }

  @Test("while todo stands the message is qmail's, noted or not, and the copy goes")
  func standing() throws {
    for isNoted in [false, true] {
      let fixture = try HandsFixture()
      let store = try fixture.store()
      let identity = try copied(fixture, store)
      if isNoted { try note(store, identity) }
      #expect(try recover(fixture, store, identity) == .abandoned)
      #expect(fixture.exists(fixture.layout.path(.todo, 7)))
      #expect(try store.contents() == QuarantineStore.Contents())
    }
  }

  @Test("noted and out of todo, with the message file alone left: ours")
  func removed() throws {
    let fixture = try HandsFixture()
    let store = try fixture.store()
    let identity = try copied(fixture, store)
    try note(store, identity)
    unlinkAll(fixture, [.intd, .todo])
    #expect(try recover(fixture, store, identity) == .quarantined(markedNow: 0))
    #expect(try store.read(identity).count(.marked) == 2)
  }

  @Test("noted, and taken in by qmail-send after the kill: qmail's")
  func takenIn() throws {
    let fixture = try HandsFixture()
    let store = try fixture.store()
    let identity = try copied(fixture, store)
    try note(store, identity)
    unlinkAll(fixture, [.intd, .todo])
    try fixture.write("Falice@mx.test\0", to: fixture.layout.path(.info, 7))
    #expect(try recover(fixture, store, identity) == .abandoned)
    #expect(try store.contents() == QuarantineStore.Contents())
  }

  @Test("noted and nothing left, or a newcomer under its number: its recipients are in doubt")
  func nothingLeft() throws {
    for isReused in [false, true] {
      let fixture = try HandsFixture()
      let store = try fixture.store()
      let identity = try copied(fixture, store)
      try note(store, identity)
      unlinkAll(fixture, [.intd, .todo, .mess])
      if isReused {
        try fixture.entry(7, sender: "carol@mx.test", remote: ["Tz@z.example"], birth: Self.taken)
      }
      #expect(try recover(fixture, store, identity) == .quarantined(markedNow: 0))
      #expect(try store.read(identity).count(.inDoubt) == 2)
      #expect(fixture.letters(7) == (isReused ? "T" : ""))
    }
  }

  @Test("gone before it was noted: qmail had it, and the copy goes")
  func goneBefore() throws {
    let fixture = try HandsFixture()
    let store = try fixture.store()
    let identity = try copied(fixture, store)
    unlinkAll(fixture, [.intd, .todo, .mess])
    #expect(try recover(fixture, store, identity) == .abandoned)
  }

  @Test("in qmail's stead only an entry is removed that is wholly marked and has no bounce")
  func departing() throws {
    let fixture = try HandsFixture()
    let identity = try fixture.entry(9, remote: ["Dx@y.example", "Tz@y.example"])
    let entry = DepartingEntry(identity, sender: Address("alice@mx.test"), in: fixture.layout)
    #expect(try entry.removeForQmail() == false)
    #expect(fixture.letters(9) == "DT")
    try fixture.markDone(.remote, 9, at: 13)
    try fixture.write("<z@y.example>:\nno\n\n", to: fixture.layout.path(.bounce, 9))
    #expect(try entry.removeForQmail() == false)
    unlink(fixture.layout.path(.bounce, 9))
    #expect(try entry.removeForQmail())
    #expect(QueueFile.allCases.allSatisfy { !fixture.exists(fixture.layout.path($0, 9)) })
  }
}
