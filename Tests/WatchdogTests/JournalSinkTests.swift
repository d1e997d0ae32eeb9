import Mail
import Synchronization
import Systemd
import Testing

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
}
