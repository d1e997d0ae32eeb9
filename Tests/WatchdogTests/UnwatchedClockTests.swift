import Files
import Fixtures
import Foundation
import Ledger
import Mail
import QmailSimulator
import Testing

@Suite(
  "A clock that is set while no daemon runs",
  .enabled(if: Shim.shared != nil, "needs a C compiler and the built program"))
struct UnwatchedClockTests {
  private static let shift = 6 * 3600
  private let watched: WatchedQmail
  private let places: [String]
  private let faults: String

  init() throws {
    watched = WatchedQmail()
    _ = try SimulatedQmail.create(at: watched.qmail)
    let policy = "\(watched.path)/policy.yaml"
    places = ["--qmail", watched.qmail, "--state", watched.state, "--policy", policy]
    faults = "\(watched.path)/faults"
    let text = "mode: enforce\nlog: {source: none}\nblocking: {dialect: stock}\n"
    try Replacement.write(Array(text.utf8), to: policy, mode: 0o644)
  }

  /// - Parameter shift: of its clock, in seconds.
  private func qwarden(_ words: [String], shift: Int = 0) throws -> String {
    try Replacement.write(Array("clock \(shift)\n".utf8), to: faults, mode: 0o644)
    let result = try #require(Shim.shared).run(
      words + places, at: nil, in: watched.path, others: ([], ["FAULTS": faults]))
    #expect(result.status == 0, "\(result.output)")
    return result.output
  }

  private func left(shift: Int) throws -> Double? {
    try watched.ledger().standingBlocks().first?.expires.seconds(
      since: WallClock.now() + .seconds(shift))
  }

  @Test(
    "the next daemon tells it and moves what is to run out; the one after it has nothing to say")
  func daemon() throws {
    _ = try qwarden(["run", "--once"])
    _ = try qwarden(["block", "spam@bad.test", "--for", "1h"])
    let first = try qwarden(["run", "--once"], shift: Self.shift)
    #expect(first.contains("the clock was set forward by "), "\(first)")
    #expect(try (3500...3600).contains(left(shift: Self.shift) ?? 0))
    #expect(watched.badmailfrom.contains("\nspam@bad.test\n"))
    let second = try qwarden(["run", "--once"], shift: Self.shift)
    #expect(!second.contains("the clock was set"), "\(second)")
    #expect(try (3500...3600).contains(left(shift: Self.shift) ?? 0))
  }

  @Test("a command that comes first moves it, and says so")
  func command() throws {
    _ = try qwarden(["block", "spam@bad.test", "--for", "1h"])
    let said = try qwarden(["block", "@worse.test", "--for", "1h"], shift: -Self.shift)
    #expect(said.contains("note: the clock was set back by "), "\(said)")
    #expect(try (3500...3600).contains(left(shift: -Self.shift) ?? 0))
    let run = try qwarden(["run", "--once"], shift: -Self.shift)
    #expect(!run.contains("the clock was set"), "\(run)")
    let standing = try watched.ledger().standingBlocks()
    #expect(standing.count == 2)
  }
}
