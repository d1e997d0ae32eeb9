import GRDB
import GRDBSQLite
import Glibc
import Mail
import Storms
import Testing

@testable import Ledger

@Suite struct OpeningTests {
  @Test("a new ledger is private, in WAL mode, flushed at each commit, and bears our mark")
  func fresh() throws {
    umask(0o022)
    let workshop = Workshop()
    let ledger = try Ledger(workshop.database)
    _ = try ledger.nextIncident()
    for name in ["", "-wal", "-shm"] {
      var status = stat()
      #expect(stat(workshop.database + name, &status) == 0)
      #expect(status.st_mode & 0o777 == 0o600, "mode of ledger.sqlite\(name)")
    }
    func pragma(_ name: String) throws -> String? {
      try ledger.read { try String.fetchOne($0, sql: "PRAGMA \(name)") }
    }
    #expect(try pragma("journal_mode") == "wal")
    #expect(try pragma("synchronous") == "2")
    #expect(try pragma("application_id") == String(Schema.applicationID))
    #expect(try pragma("user_version") == String(Schema.version))
  }

  @Test("what is not an SQLite database is refused and left as it is")
  func notADatabase() throws {
    let workshop = Workshop()
    let bytes = Array(repeating: Array("this is my shopping list\n".utf8), count: 100).flatMap {
      $0
    }
    workshop.write(bytes, to: "ledger.sqlite")
    let error = #expect(throws: LedgerError.self) { try Ledger(workshop.database) }
    #expect(error?.kind == .notDatabase)
    #expect(error?.exitCode == 65)
    #expect(error?.description.contains(workshop.database) == true)
    // What the daemon does with it.
    #expect(error?.description.contains("start the daemon again") == true)
    #expect(workshop.bytes(of: "ledger.sqlite") == bytes)
  }

  @Test("another program's database is refused and not a byte of it changed")
  func foreign() throws {
    let workshop = Workshop()
    do {
      let other = try DatabaseQueue(path: workshop.database)
      try other.write { try $0.execute(sql: "CREATE TABLE customers (name TEXT)") }
    }
    let before = workshop.bytes(of: "ledger.sqlite")
    let error = #expect(throws: LedgerError.self) { try Ledger(workshop.database) }
    #expect(error?.kind == .notOurs)
    #expect(workshop.bytes(of: "ledger.sqlite") == before)
  }

  @Test("a ledger of a later version is refused with its version and left as it is")
  func newer() throws {
    let workshop = Workshop()
    do {
      let ledger = try Ledger(workshop.database)
      try ledger.write { try $0.execute(sql: "PRAGMA user_version = 99") }
    }
    let error = #expect(throws: LedgerError.self) { try Ledger(workshop.database) }
    #expect(error?.kind == .newer)
    #expect(error?.description.contains("version 99") == true)
    let again = #expect(throws: LedgerError.self) { try Ledger(workshop.database) }
    #expect(again?.kind == .newer)
  }

  @Test(
    "a damaged ledger is set aside under a name with the date, and a new one begun",
    arguments: ["pages overwritten", "no database any more", "cut off"])
  func setAside(_ damage: String) throws {
    let workshop = Workshop()
    do {
      let ledger = try Ledger(workshop.database)
      for number in 1...200 { try ledger.record(.sample(number)) }
    }
    var bytes = workshop.bytes(of: "ledger.sqlite")
    switch damage {
    case "pages overwritten": for at in 4096..<(bytes.count - 4096) { bytes[at] = 0xA5 }
    case "cut off": bytes.removeLast(bytes.count * 2 / 3)
    default: for at in 0..<4096 { bytes[at] = 0 }
    }
    workshop.write(bytes, to: "ledger.sqlite")
    let (ledger, aside) = try Ledger.openSound(workshop.database, at: .noon)
    #expect(aside == "\(workshop.database).damaged-20261118T110640Z", "\(aside as String?)")
    #expect(workshop.bytes(of: "ledger.sqlite.damaged-20261118T110640Z") == bytes)
    #expect(try ledger.openIncidents().isEmpty)
    try ledger.record(.sample(1))
    let (again, none) = try Ledger.openSound(workshop.database, at: .noon)
    #expect(none == nil)
    #expect(try again.openIncidents().count == 1)
  }

  @Test("a sound ledger of a later version, or another program's, is refused and not set aside")
  func notSetAside() throws {
    let workshop = Workshop()
    do {
      let ledger = try Ledger(workshop.database)
      try ledger.write { try $0.execute(sql: "PRAGMA user_version = 99") }
    }
    let newer = #expect(throws: LedgerError.self) {
      try Ledger.openSound(workshop.database, at: .noon)
    }
    #expect(newer?.kind == .newer)
    #expect(!workshop.names.contains { $0.contains("damaged") })
  }

  @Test(
    "a ledger of an earlier version opens in this one with everything that it held",
    arguments: 1..<Schema.version)
  func upgrade(from earlier: Int) throws {
    let workshop = Workshop()
    let sample =
      String(#filePath.dropLast("LedgerTests.swift".count)) + "Samples/ledger-\(earlier).sql"
    do {
      let old = try DatabaseQueue(path: workshop.database)
      let sql = String(decoding: workshop.bytes(at: sample), as: UTF8.self)
      try old.writeWithoutTransaction { try $0.execute(sql: sql) }
    }
    for _ in 0..<2 {
      let ledger = try Ledger(workshop.database)
      let incident = try #require(try ledger.openIncidents().first)
      #expect(incident.incident == 7 && incident.offenders == [.sender(Address("alice@mx.test"))])
      #expect(incident.evidence.messages == 300 && incident.samples == [999_733])
      let block = try #require(try ledger.standingBlocks().first)
      #expect(block.entry == Address("alice@mx.test") && block.state == .active)
      #expect(try ledger.grace(of: Address("carol@mx.test"), at: .noon) != nil)
      let row = try #require(try ledger.quarantine(id: 999_733).first)
      #expect(row.state == .gone && row.facts.inDoubt == 1 && row.facts.source.user == "alice")
      #expect(try ledger.nextIncident() == 8)
      #expect(try ledger.points(incident: 7).map(\.waiting) == (earlier < 2 ? [] : [360]))
      #expect(try ledger.clock() == nil)
      let version = try ledger.read { try Int.fetchOne($0, sql: "PRAGMA user_version") }
      #expect(version == Schema.version)
    }
  }

  @Test("a link, a directory and a missing file have their own clear errors")
  func odd() throws {
    let workshop = Workshop()
    symlink("/etc/passwd", "\(workshop.path)/link")
    let link = #expect(throws: LedgerError.self) { try Ledger("\(workshop.path)/link") }
    #expect(link?.kind == .notOurs)
    let directory = #expect(throws: LedgerError.self) { try Ledger(workshop.path) }
    #expect(directory?.kind == .notOurs)
    let missing = #expect(throws: LedgerError.self) {
      try Ledger(workshop.database, creating: false)
    }
    #expect(missing?.kind == .missing)
    #expect(access(workshop.database, F_OK) != 0)
  }

  @Test("eight openers at once make one ledger of one schema")
  func concurrent() async throws {
    let workshop = Workshop()
    let path = workshop.database
    let counts = try await withThrowingTaskGroup(of: Int.self) { group in
      for number in 1...8 {
        group.addTask {
          let ledger = try Ledger(path)
          try ledger.record(.sample(number))
          return try ledger.incidents().count
        }
      }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    #expect(counts.count == 8)
    #expect(try Ledger(path).incidents().count == 8)
  }

  @Test(
    "a call waits for another process as long as the ledger was opened with, the next ones hardly")
  func patience() throws {
    let workshop = Workshop()
    let ledger = try Ledger(workshop.database, patience: .milliseconds(300))
    try DatabaseQueue(path: workshop.database).inDatabase { other in
      try other.execute(sql: "BEGIN IMMEDIATE")
      let waits = (0..<2).map { _ in
        ContinuousClock().measure {
          let error = #expect(throws: LedgerError.self) { try ledger.probe() }
          #expect(error?.kind == .busy)
        }
      }
      #expect(waits[0] >= .milliseconds(300) && waits[1] < waits[0], "\(waits)")
      try other.execute(sql: "ROLLBACK")
    }
    try ledger.probe()
    #expect(ledger.failure == nil)
  }
}

@Suite struct RecordsTests {
  @Test("an incident comes back exactly, hostile bytes and 64-bit numbers included")
  func incident() throws {
    let workshop = Workshop()
    let ledger = try Ledger(workshop.database)
    #expect(try ledger.nextIncident() == 1)
    var storm = Storm.sample(7)
    try ledger.record(storm)
    #expect(try ledger.incident(7) == storm)
    #expect(try ledger.openIncidents() == [storm])
    storm.ended = .noon + .seconds(90)
    storm.offenders = [.client("2001:db8::1")]
    storm.victims = []
    storm.evidence.normalPerMinute = nil
    try ledger.record(storm)
    #expect(try ledger.incident(7) == storm)
    #expect(try ledger.openIncidents() == [])
    #expect(try ledger.nextIncident() == 8)
    #expect(try ledger.incident(6) == nil)
  }

  @Test(
    "a block's life: intended, active, leaving, removed; a repeat counts, an administrator's removal does not"
  )
  func block() throws {
    let workshop = Workshop()
    let ledger = try Ledger(workshop.database)
    let bob = Address("Bob@Example.test")
    let day = Timestamp.noon + .seconds(86_400)
    let block = try ledger.intendBlock(
      bob, author: .incident(3), reason: "relay-sender", expires: day, at: .noon)
    #expect(block.entry == Address("bob@example.test"))
    #expect(block.state == .intended)
    let longer = try ledger.intendBlock(
      bob, author: .administrator("root"), reason: "again", expires: day + .seconds(1), at: .noon)
    #expect(longer.id == block.id)
    #expect(longer.expires == day + .seconds(1))
    #expect(longer.reason == "relay-sender")
    try ledger.settleBlocks(standing: [longer], left: [])
    #expect(try ledger.standingBlocks().map(\.state) == [.active])

    let leaving = try ledger.intendRemoval(
      of: try ledger.standingBlocks(), why: "its time has run out", by: "qwarden", at: day)
    #expect(leaving.count == 1)
    #expect(try ledger.standingBlocks() == [])
    #expect(try ledger.blocks([.leaving]) == leaving)
    try ledger.settleBlocks(standing: [], left: leaving)
    #expect(try ledger.blocks([.removed]).first?.removal?.by == "qwarden")
    #expect(try ledger.earlierBlocks(of: bob) == 1)

    let second = try ledger.intendBlock(
      bob, author: .incident(4), reason: "relay-sender", expires: day, at: .noon)
    #expect(second.id != block.id)
    try ledger.intendRemoval(
      of: [second], why: "unblocked", by: "root", at: .noon, graceUntil: day)
    #expect(try ledger.earlierBlocks(of: bob) == 1)
    #expect(try ledger.grace(of: bob, at: .noon) == day)
    #expect(try ledger.grace(of: bob, at: day) == nil)
    try ledger.forgetGrace(of: bob)
    #expect(try ledger.grace(of: bob, at: .noon) == nil)
  }

  @Test("the hourly cap counts the blocks that storms caused, not an administrator's")
  func hourly() throws {
    let workshop = Workshop()
    let ledger = try Ledger(workshop.database)
    for (index, author) in [Block.Author.incident(1), .administrator("root"), .incident(2)]
      .enumerated()
    {
      try ledger.intendBlock(
        Address("u\(index)@a.test"), author: author, reason: "", expires: .noon + .seconds(9),
        at: .noon + .seconds(Double(index)))
    }
    #expect(try ledger.blocksCreated(since: .noon - .seconds(1)) == 2)
    #expect(try ledger.blocksCreated(since: .noon) == 1)
  }

  @Test(
    "an order's rows are those that are stored, new ones and those a storm had chosen",
    arguments: [nil, Duration.seconds(60)])
  func order(keeping: Duration?) throws {
    let workshop = Workshop()
    let ledger = try Ledger(workshop.database)
    let chosen = EntryIdentity(id: 12, birth: .noon)
    let new = EntryIdentity(id: .max, birth: .noon - .seconds(1))
    try ledger.intendQuarantine(of: [chosen], incident: 5, expires: .noon + .seconds(9), at: .noon)
    let rows = try ledger.orderQuarantine(
      of: [(new, Address([0, 255])), (chosen, .null)], note: "by root: spam", keeping: keeping,
      at: .noon)
    #expect(rows.map(\.identity) == [new, chosen] && rows.map(\.incident) == [nil, 5])
    #expect(rows.allSatisfy { $0.keepsNothing == (keeping == nil) && $0.note == "by root: spam" })
    for row in rows { #expect(try ledger.quarantine(number: row.id) == row) }
  }

  @Test("a quarantined message's life, and one row a message that is not final")
  func quarantine() throws {
    let workshop = Workshop()
    let ledger = try Ledger(workshop.database)
    let one = EntryIdentity(id: .max, birth: .noon)
    let two = EntryIdentity(id: 12, birth: .noon)
    let keep = Timestamp.noon + .seconds(1000)
    #expect(
      try ledger.intendQuarantine(of: [one, two, one], incident: 5, expires: keep, at: .noon) == 2)
    #expect(try ledger.intendQuarantine(of: [two], incident: 6, expires: keep, at: .noon) == 0)
    #expect(try ledger.quarantine([.intended]).map(\.identity) == [one, two])
    #expect(try ledger.quarantine([.intended], limit: 1).count == 1)

    var record = try #require(try ledger.quarantine(id: .max).first)
    record.facts.sender = Address([0, 255, 10])
    record.facts.size = 1 << 40
    record.facts.recipients = 3
    record.facts.subject = [0x80, 0]
    record.facts.source = SourceSummary(
      .bounce(
        original: .init(
          sender: .null, source: .network(client: "198.18.0.1", helo: nil, user: "al"))))
    try ledger.recordCopied([record], at: .noon)
    var stored = try #require(try ledger.quarantine(number: record.id))
    #expect(stored.state == .copied)
    #expect(stored.facts == record.facts)
    #expect(stored.facts.source.client == "198.18.0.1")

    stored.facts.inDoubt = 1
    try ledger.recordMarked([stored], at: .noon + .seconds(1))
    #expect(try ledger.departing(limit: 10).count == 1)
    #expect(try ledger.departing(inDoubtOnly: true, limit: 10).count == 1)
    #expect(try ledger.hasDeparting())
    // A move from a state that the row is no longer in changes nothing.
    try ledger.move([stored], to: .abandoned, at: .noon)
    stored = try #require(try ledger.quarantine(number: record.id))
    #expect(stored.state == .marked)
    #expect(stored.facts.inDoubt == 1)

    try ledger.intendRelease([(stored, 4711)], inDoubt: false, at: .noon + .seconds(2))
    stored = try #require(try ledger.quarantine(number: record.id))
    #expect(stored.state == .releasing)
    #expect(stored.release?.pid == 4711)
    try ledger.finishRelease([(stored, 2, 1)], at: .noon + .seconds(3))
    stored = try #require(try ledger.quarantine(number: record.id))
    #expect(stored.state == .marked)
    #expect(stored.released == 2)
    try ledger.recordGone([stored], at: .noon + .seconds(4))
    stored = try #require(try ledger.quarantine(number: record.id))
    #expect(stored.state == .gone)
    #expect(try ledger.departing(limit: 10) == [])
    try ledger.intendRelease([(stored, 4712)], inDoubt: true, at: .noon + .seconds(5))
    stored = try #require(try ledger.quarantine(number: record.id))
    try ledger.finishRelease([(stored, 1, 0)], at: .noon + .seconds(6))
    stored = try #require(try ledger.quarantine(number: record.id))
    #expect(stored.state == .released)
    #expect(stored.released == 3)
    #expect(stored.closed == .noon + .seconds(6))
    #expect(try ledger.wasReleased(pid: 4712, before: .noon + .seconds(10)))
    #expect(try !ledger.wasReleased(pid: 4712, before: .noon - .seconds(10)))
    #expect(try ledger.released(by: [4712, 7], since: .noon) == [4712])
    #expect(try ledger.released(by: [4712], since: .noon + .seconds(6)) == [])

    // The number and birth of a final row may be set aside again.
    #expect(try ledger.intendQuarantine(of: [one], incident: 6, expires: keep, at: .noon) == 1)
    #expect(try ledger.quarantineCounts()[.intended] == 2)
    #expect(try ledger.quarantineCounts(incident: 5)[.released] == 1)
    #expect(try ledger.quarantineTally(incident: 5) == (2, 1))
    try ledger.forget(before: .noon + .seconds(6))
    #expect(try ledger.quarantine(number: record.id) != nil)
    try ledger.forget(before: .noon + .seconds(7))
    #expect(try ledger.quarantine(number: record.id) == nil)
    #expect(try ledger.quarantineCounts() == [.intended: 2])
  }

  @Test("a message that was never copied leaves no row behind, one that was is kept as abandoned")
  func abandoned() throws {
    let workshop = Workshop()
    let ledger = try Ledger(workshop.database)
    let identities = (1...3).map { EntryIdentity(id: $0, birth: .noon) }
    try ledger.intendQuarantine(of: identities, incident: 1, expires: .noon, at: .noon)
    let rows = try ledger.quarantine([.intended])
    try ledger.recordCopied([rows[1], rows[2]], at: .noon)
    let copied = try ledger.quarantine([.copied])
    try ledger.recordMarked([copied[1]], at: .noon)
    try ledger.abandon(rows, note: "left", at: .noon)
    #expect(try ledger.quarantineCounts() == [.abandoned: 1, .marked: 1])
    #expect(try ledger.quarantine(number: rows[1].id)?.note == "left")
  }

  @Test("what the daemon asks at every look costs the same however many are in quarantine")
  func costOfALook() throws {
    let workshop = Workshop()
    let ledger = try Ledger(workshop.database)
    func fill(_ ids: Range<UInt64>) throws {
      let all = ids.map { EntryIdentity(id: $0, birth: .noon) }
      try ledger.intendQuarantine(of: all, incident: 1, expires: .noon + .seconds(10), at: .noon)
      var rows = try ledger.quarantine([.intended])
      try ledger.recordCopied(rows, at: .noon)
      for place in rows.indices { rows[place].state = .copied }
      try ledger.recordMarked(rows, at: .noon)
      try ledger.recordGone(rows.filter { $0.identity.id % 2 == 0 }, at: .noon)
    }
    /// Pages of the file that one look reads, from memory or from the disk.
    func pages() throws -> Int {
      _ = try ledger.read { $0.pageReads }
      _ = try ledger.departing(inDoubtOnly: true, limit: 128)
      _ = try ledger.hasDeparting()
      _ = try ledger.expiredQuarantine(at: .noon, limit: 256)
      _ = try ledger.taken(ids: [1, 2])
      return try ledger.read { $0.pageReads }
    }
    try fill(1..<11)
    let few = try pages()
    try fill(11..<4001)
    let many = try pages()
    #expect(many <= few + 30, "\(many) pages, with few messages \(few)")
    #expect(try ledger.taken(ids: [1, 2, 5000]).map(\.identity.id) == [1])
  }

  @Test("only messages out of the queue expire, and only when their time has run out")
  func expiry() throws {
    let workshop = Workshop()
    let ledger = try Ledger(workshop.database)
    let identity = EntryIdentity(id: 5, birth: .noon)
    try ledger.intendQuarantine(
      of: [identity], incident: nil, expires: .noon + .seconds(10), at: .noon)
    let record = try #require(try ledger.quarantine(of: identity))
    try ledger.recordCopied([record], at: .noon)
    var copied = record
    copied.state = .copied
    try ledger.recordMarked([copied], at: .noon)
    #expect(try ledger.expiredQuarantine(at: .noon + .seconds(11), limit: 10) == [])
    try ledger.recordGone([copied], at: .noon + .seconds(5))
    #expect(try ledger.expiredQuarantine(at: .noon + .seconds(9), limit: 10) == [])
    #expect(try ledger.expiredQuarantine(at: .noon + .seconds(10), limit: 10).count == 1)
  }

  @Test("alike actions are one record with a count, however many messages a storm has")
  func actions() throws {
    let workshop = Workshop()
    let ledger = try Ledger(workshop.database)
    for second in 0..<5 {
      try ledger.record([
        ActionRecord(
          incident: 1, action: "quarantine", outcome: .held, why: "qwarden only observes",
          at: .noon + .seconds(Double(second)), times: 10)
      ])
    }
    try ledger.record([
      ActionRecord(
        incident: nil, action: "block", value: [0xFF, 0], outcome: .done, why: "", at: .noon)
    ])
    let history = try ledger.actions()
    #expect(history.map(\.times) == [50, 1])
    #expect(history[0].first == .noon)
    #expect(history[0].last == .noon + .seconds(4))
    #expect(history[1].value == [0xFF, 0])
    #expect(try ledger.actions(incident: 2) == [])
  }

  @Test("what ended long ago is forgotten, what is open is not, and numbers are not used again")
  func forgetting() throws {
    let workshop = Workshop()
    let ledger = try Ledger(workshop.database)
    var ended = Storm.sample(1)
    ended.ended = .noon
    try ledger.record(ended)
    try ledger.record(.sample(2))
    let old = try ledger.intendBlock(
      Address("a@b.test"), author: .incident(1), reason: "", expires: .noon, at: .noon)
    let left = try ledger.intendRemoval(of: [old], why: "", by: "qwarden", at: .noon)
    try ledger.settleBlocks(standing: [], left: left)
    try ledger.intendBlock(
      Address("c@d.test"), author: .incident(2), reason: "", expires: .noon, at: .noon)
    try ledger.forget(before: .noon + .seconds(1))
    #expect(try ledger.incidents().map(\.incident) == [2])
    #expect(try ledger.blocks(Set(Block.State.allCases)).map(\.state) == [.intended])
    var last = Storm.sample(9)
    last.ended = .noon
    try ledger.record(last)
    try ledger.forget(before: .noon + .seconds(1))
    #expect(try ledger.nextIncident() == 10)
  }

  @Test("a row that no version of ours wrote is an error, not a crash")
  func unreadable() throws {
    let workshop = Workshop()
    let ledger = try Ledger(workshop.database)
    try ledger.record(.sample(1))
    try ledger.write { try $0.execute(sql: "UPDATE incidents SET kind = 'earthquake'") }
    let error = #expect(throws: LedgerError.self) { try ledger.incidents() }
    #expect(error?.kind == .defect)
    #expect(error?.description.contains("earthquake") == true)
  }

  @Test("a figure is counted anew once counting takes no more than a hundredth of the time")
  func pacedFigure() throws {
    var figure = PacedFigure<Int>()
    var (clock, counted, cost) = (Int64(0), 0, Int64(5_000_000))
    func ask() throws -> Int {
      try figure.value(now: { clock }) { () throws(LedgerError) in
        counted += 1
        clock += cost
        return counted
      }
    }
    #expect(try ask() == 1)
    clock = 499_999_999
    #expect(try ask() == 1 && figure.isStale)
    figure.change { $0 += 10 }
    #expect(try ask() == 11)
    clock = 500_000_000
    cost = 900_000
    #expect(try ask() == 2 && !figure.isStale)
    #expect(try ask() == 3, "what is counted in no time is always today's")
  }
}

extension Database {
  /// Pages read since the last call.
  fileprivate var pageReads: Int {
    [SQLITE_DBSTATUS_CACHE_HIT, SQLITE_DBSTATUS_CACHE_MISS].reduce(0) { sum, which in
      var (now, most) = (Int32(0), Int32(0))
      sqlite3_db_status(sqliteConnection, which, &now, &most, 1)
      return sum + Int(now)
    }
  }
}
