import Files
import GRDB
import Mail
import Testing

@testable import Ledger

@Suite("The clock that the ledger's times are by")
struct ClockTests {
  private static let hours = Duration.seconds(6 * 3600)
  private let workshop = Workshop()
  private let alice = Address("alice@mx.test")
  private let message = EntryIdentity(id: 7, birth: .noon)

  private func reading(_ boot: String = "one", ahead shift: Duration = .zero) -> ClockReading {
    ClockReading(boot: boot, ahead: 1_795_000_000_000_000_000 + shift.wholeNanoseconds)
  }

  private func filled() throws -> Ledger {
    let ledger = try Ledger(workshop.database)
    try ledger.adopt(reading())
    try ledger.intendBlock(
      alice, author: .incident(1), reason: "", expires: .noon + .seconds(60), at: .noon)
    try ledger.intendQuarantine(
      of: [message], incident: 1, expires: .noon + .seconds(60), at: .noon)
    return ledger
  }

  /// By how much what is to run out was moved; it is the same for all of it.
  private func moved(_ ledger: Ledger) throws -> Duration {
    let block = try #require(try ledger.standingBlocks().first).expires
    let row = try #require(try ledger.quarantine(of: message))
    #expect(row.expires == block)
    #expect(!row.keepsNothing, "a copy that was to be kept is not for deletion")
    return .nanoseconds(block.nanoseconds - (Timestamp.noon + .seconds(60)).nanoseconds)
  }

  @Test(
    "set between two openings, either way: what is to run out is moved with it, once",
    arguments: [hours, .zero - hours])
  func set(_ shift: Duration) throws {
    #expect(try filled().adopt(reading()) == nil)
    let ledger = try Ledger(workshop.database)
    #expect(try ledger.clock() == reading())
    #expect(try ledger.adopt(reading(ahead: shift)) == shift)
    #expect(try moved(ledger) == shift)
    let other = try Ledger(workshop.database)
    #expect(try other.adopt(reading(ahead: shift)) == nil)
    #expect(try moved(other) == shift)
    #expect(try other.adopt(reading()) == .zero - shift)
    #expect(try moved(ledger) == .zero)
  }

  @Test("seconds that NTP corrects move nothing, until they have become many")
  func drift() throws {
    let ledger = try filled()
    let mark = try ledger.mark()
    #expect(try ledger.adopt(reading(ahead: .seconds(20))) == nil)
    #expect(try ledger.mark() == mark, "nothing is written")
    #expect(try ledger.adopt(reading(ahead: .seconds(40))) == .seconds(40))
    #expect(try moved(ledger) == .seconds(40))
  }

  @Test("of another run of the machine nothing is known: nothing is moved, and its clock counts")
  func rebooted() throws {
    let ledger = try filled()
    let other = reading("two", ahead: Self.hours)
    #expect(try ledger.adopt(other) == nil)
    #expect(try ledger.clock() == other)
    #expect(try moved(ledger) == .zero)
  }

  @Test("two that see it at once move it once")
  func atOnce() async throws {
    let ledger = try filled()
    let path = workshop.database
    let now = reading(ahead: Self.hours)
    let found = try await withThrowingTaskGroup(of: Duration?.self) { group in
      for _ in 0..<8 {
        group.addTask { try Ledger(path).adopt(now) }
      }
      return try await group.reduce(into: [Duration]()) { $0 += $1.map { [$0] } ?? [] }
    }
    #expect(found == [Self.hours])
    #expect(try moved(ledger) == Self.hours)
  }

  @Test("a move that cannot be written leaves the clock as it was known, and is made later")
  func interrupted() throws {
    let ledger = try filled()
    try ledger.write {
      try $0.execute(
        sql: "CREATE TRIGGER full BEFORE UPDATE ON quarantine BEGIN SELECT RAISE(FAIL, 'full'); END"
      )
    }
    #expect(throws: LedgerError.self) { try ledger.adopt(reading(ahead: Self.hours)) }
    #expect(try ledger.clock() == reading())
    #expect(try moved(ledger) == .zero)
    try ledger.write { try $0.execute(sql: "DROP TRIGGER full") }
    #expect(try ledger.adopt(reading(ahead: Self.hours)) == Self.hours)
    #expect(try moved(ledger) == Self.hours)
  }
}
