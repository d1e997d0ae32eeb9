import Files
import Mail
import Policy
import QmailControl
import Response
import Storms
import Synchronization
import Systemd
import Testing

@testable import Ledger
@testable import Watchdog

/// A journal that does not take what it is sent.
@Suite struct JournalSinkTests {
  private final class Journald: Sendable {
    private let state = Mutex<(error: JournalError?, taken: [String])>((nil, []))
    var error: JournalError? {
      get { state.withLock { $0.error } }
      set { state.withLock { $0.error = newValue } }
    }
    var taken: [String] { state.withLock { $0.taken } }
    func take(_ event: Event) throws(JournalError) {
      if let error { throw error }
      state.withLock { $0.taken.append(event.message) }
    }
  }

  private func event(_ number: Int) -> Event {
    Event(.looked, at: Timestamp(seconds: 1), .info, "\(number)")
  }

  @Test(
    "a journal that does not read, or is away: events wait, in order, and are delivered when it is back",
    arguments: [JournalError.failed(code: 11), .noJournal(socket: "/run/systemd/journal/socket")])
  func waits(_ error: JournalError) {
    let journald = Journald()
    let sink = JournalSink { event throws(JournalError) in try journald.take(event) }
    sink.take(event(0))
    journald.error = error
    for number in 1...5 { sink.take(event(number)) }
    #expect(sink.tend() == "\(error)")
    #expect(journald.taken == ["0"])
    journald.error = nil
    #expect(sink.tend() == nil)
    sink.take(event(6))
    #expect(journald.taken == (0...6).map(String.init))
  }

  @Test("a journal that has not read from the start is waited for: it is there")
  func silent() {
    let journald = Journald()
    journald.error = .failed(code: 11)
    let sink = JournalSink { event throws(JournalError) in try journald.take(event) }
    sink.take(event(0))
    #expect(sink.tend() != nil)
    journald.error = nil
    #expect(sink.tend() == nil)
    #expect(journald.taken == ["0"])
  }

  @Test("what waits is bounded: the oldest are given up, and their number is told")
  func bounded() {
    let journald = Journald()
    let sink = JournalSink { event throws(JournalError) in try journald.take(event) }
    sink.take(event(0))
    journald.error = .failed(code: 11)
    for number in 1...JournalSink.mostWaiting + 7 { sink.take(event(number)) }
    journald.error = nil
    #expect(sink.tend() == nil)
    #expect(journald.taken.count == 1 + JournalSink.mostWaiting)
    #expect(journald.taken[1].hasPrefix("8 (7 earlier events are lost"))
    #expect(journald.taken[2] == "9")
  }

  @Test("where there has never been a journal nothing is kept: standard output has it")
  func none() {
    let journald = Journald()
    journald.error = .noJournal(socket: "x")
    let sink = JournalSink { event throws(JournalError) in try journald.take(event) }
    for number in 0..<10 { sink.take(event(number)) }
    #expect(sink.tend() == nil)
    journald.error = nil
    sink.take(event(10))
    #expect(journald.taken == ["10"])
  }

  @Test("journalctl -x: an entry carries every field that its explanation names")
  func explained() throws {
    let now = Timestamp(seconds: 1_795_000_000)
    // A stall: nobody is behind it.
    var storm = Storm(
      incident: 3, kind: .stall, began: now, lastSeen: now, offenders: [], reason: "todo grows")
    storm.evidence.messages = 9
    let sender = Address("a@b.example")
    let identity = EntryIdentity(id: 7, birth: now)
    let block = Block(
      id: 1, entry: sender, author: .administrator("root"), reason: "by hand", created: now,
      expires: now, state: .active)
    let record = QuarantineRecord(
      id: 1, identity: identity, state: .marked, facts: QuarantineRecord.Facts(), intended: now,
      expires: now, released: 0)
    let outcomes: [Outcome] = [
      .blocked(block), .unblocked(block), .removedByHand(block),
      .held(PlannedAction(incident: 3, action: .block(sender, lasting: .zero)), .kind, why: "x"),
      .held(PlannedAction(incident: 3, action: .quarantine(identity)), .observeMode, why: "x"),
      .releaseInDoubt(record), .released(record, recipients: 1),
      .failed(Outcome.Failure("release", "7", why: "x", exitCode: 74)),
      .failed(Outcome.Failure("watch", "7", why: "x", exitCode: 74)),
    ]
    let events =
      [
        Event(.stormBegan, of: storm, mode: .observe, at: now),
        Event(.stormChanged, of: storm, mode: .observe, at: now),
        Event(endOf: storm, setAside: 0, mode: .observe, at: now),
      ] + outcomes.compactMap { Event($0, policy: Policy(), at: now) }
    #expect(events.count == 12)
    let root = String(#filePath.dropLast("/Tests/WatchdogTests/JournalSinkTests.swift".count))
    let catalog = try Descriptor.open("\(root)/systemd/qwarden.catalog").readAll(limit: 1 << 20)
    let texts = String(decoding: catalog, as: UTF8.self).split(separator: "\n-- ")
    for event in events {
      let text = try #require(texts.first { $0.hasPrefix(event.id.id) })
      let named = text.split(separator: "@", omittingEmptySubsequences: false)
      let carried = event.fields.map(\.name.rawValue)
      for index in stride(from: 1, to: named.count, by: 2) {
        #expect(carried.contains(String(named[index])), "\(event.id): \(named[index])")
      }
    }
  }
}
