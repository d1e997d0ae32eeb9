import Files
import Fixtures
import Glibc
import Mail
import QmailQueue

/// A log in a directory of its own under /tmp, removed with the fixture.
final class LogFixture {
  private let place = TemporaryFolder()
  var folder: String { place.path }
  /// Half a second later at each line.
  private(set) var clock = LogFixture.start
  private var number: UInt64 = 0

  static let start = Timestamp(seconds: 1_795_455_662)

  var names: [String] { ((try? Descriptor.open(folder, .directory).names()) ?? []).sorted() }

  func path(_ name: String) -> String { "\(folder)/\(name)" }

  func append(_ text: String, to name: String) { append(Array(text.utf8), to: name) }

  func append(_ bytes: [UInt8], to name: String) {
    let file = open(path(name), O_WRONLY | O_CREAT | O_APPEND, 0o644)
    _ = Glibc.write(file, bytes, bytes.count)
    close(file)
  }

  /// Appends whole lines `end msg N`, numbered on, as the program that keeps this log would stamp them.
  @discardableResult
  func log(_ count: Int = 1, to name: String, _ stamp: (Timestamp) -> String) -> [UInt64] {
    (0..<count).map { _ in
      number += 1
      clock = clock + .milliseconds(500)
      append(stamp(clock) + "end msg \(number)\n", to: name)
      return number
    }
  }

  /// What multilog does when a file is full.
  func rotateMultilog(keeping: Int = 10) {
    rename(path("current"), path(LogFixture.tai64n(clock) + ".s"))
    let old = names.filter { $0.hasPrefix("@") }
    for name in old.dropLast(keeping - 1) { unlink(path(name)) }
    append("", to: "current")
  }

  func follower(
    _ name: String? = nil, resuming saved: LogPosition? = nil,
    oldest: Timestamp = Timestamp(nanoseconds: 0)
  ) -> LogFollower {
    LogFollower(
      path: name.map(path) ?? folder, tag: "qmail", resuming: saved, oldest: oldest)
  }

  static func tai64n(_ time: Timestamp) -> String {
    func hex(_ number: UInt64, _ width: Int) -> String {
      let digits = String(number, radix: 16)
      return String(repeating: "0", count: width - digits.count) + digits
    }
    let seconds = UInt64(time.nanoseconds / 1_000_000_000) + (1 << 62) + 10
    return "@" + hex(seconds, 16) + hex(UInt64(time.nanoseconds % 1_000_000_000), 8)
  }

  static func multilog(_ time: Timestamp) -> String { tai64n(time) + " " }

  static func splogger(_ time: Timestamp) -> String {
    let micro = String(time.nanoseconds % 1_000_000_000 / 1000)
    return "Nov 23 17:41:02 mx qmail: \(time.nanoseconds / 1_000_000_000)."
      + String(repeating: "0", count: 6 - micro.count) + micro + " "
  }

  static func plain(_ time: Timestamp) -> String { "" }
}

extension LogReport {
  /// The numbers of the messages that ended.
  var ended: [UInt64] {
    observations.compactMap { if case .log(.end(let id)) = $0.event { id } else { nil } }
  }
}

extension LogFollower {
  /// Reads until there is no more.
  func readAll(at now: Timestamp, atMost most: Int = 1 << 20) -> LogReport {
    var all = read(at: now, atMost: most)
    while all.hasMore {
      let more = read(at: now, atMost: most)
      all.observations += more.observations
      all.notes += more.notes
      all.statistics += more.statistics
      all.hasMore = more.hasMore
    }
    return all
  }
}
