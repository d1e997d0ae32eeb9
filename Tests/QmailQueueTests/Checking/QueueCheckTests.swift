import Files
import Fixtures
import Glibc
import Mail
import QmailSimulator
import Testing

@testable import QmailQueue

/// A simulated qmail with a few messages in every state, whose qmail-send does not run.
private final class CheckedQueue {
  private let folder = TemporaryFolder()
  var directory: String { folder.path }
  let qmail: SimulatedQmail
  let now = WallClock.now()
  let ids: [UInt64]

  init(split: Int = 5, todoIsSplit: Bool = false) throws {
    let qmail = try SimulatedQmail.create(
      at: "\(folder.path)/qmail", split: split, todoIsSplit: todoIsSplit, intdIsSplit: todoIsSplit,
      exchanger: SteadyExchanger { _ in .deferral })
    self.qmail = qmail
    let now = now
    func inject(_ recipient: String) throws -> UInt64 {
      try qmail.inject(
        SimulatedInjection(
          sender: Address("a@b.test"), recipients: [Address(recipient)], source: .uid(1),
          message: Array("Subject: x\n\nx\n".utf8)), at: now)
    }
    try qmail.start(at: now)
    let taken = try ["joe@mx.test", "x@far.test", "y@far.test"].map(inject)
    qmail.step(now: now)
    qmail.stop(at: now)
    ids = taken + [try inject("z@far.test")]
  }

  var layout: QueueLayout { get throws { try QueueLayout.read(qmail: qmail.qmail) } }

  var findings: [QueueFinding] {
    get throws {
      let check = QueueCheck(layout: try layout)
      return try check.confirmed(check.suspicions(at: now), at: now)
    }
  }

  /// Faults and where they are, sorted.
  var faults: [String] {
    get throws { try findings.map { "\($0.fault.rawValue) \($0.path)" }.sorted() }
  }

  func full(_ path: String) -> String { "\(qmail.qmail)/queue/\(path)" }

  func relative(_ kind: QueueFile, _ id: UInt64) throws -> String {
    String(try layout.path(kind, id).dropFirst(qmail.qmail.utf8.count + "/queue/".utf8.count))
  }

  func remove(_ kind: QueueFile, _ id: UInt64) throws { unlink(try layout.path(kind, id)) }

  func plant(_ path: String, _ bytes: [UInt8] = [], mode: UInt32, age: Int = 0) throws {
    let file = try Descriptor.open(full(path), [.write, .create])
    try file.write(bytes, at: 0)
    try file.setPermissions(mode)
    let when = timespec(tv_sec: Int(now.seconds) - age, tv_nsec: 0)
    futimens(file.number, [when, when])
  }
}

@Suite struct QueueCheckTests {
  @Test("a clean queue gives nothing, with split todo and without", arguments: [false, true])
  func clean(todoIsSplit: Bool) throws {
    let queue = try CheckedQueue(todoIsSplit: todoIsSplit)
    #expect(try queue.faults == [])
    #expect(try QueueCheck(layout: queue.layout).suspicions(at: queue.now) == [])
    let last = try #require(queue.ids.last)
    #expect(isThere(try queue.layout.path(.todo, last)))
  }

  @Test("files without those that belong to them are named, each with its path")
  func orphans() throws {
    let queue = try CheckedQueue()
    let (a, b, c, d) = (queue.ids[0], queue.ids[1], queue.ids[2], queue.ids[3])
    try queue.remove(.mess, a)
    try queue.remove(.info, b)
    try queue.plant("bounce/\(c)", mode: 0o600)
    try queue.plant("bounce/77", mode: 0o600)
    try queue.plant("intd/78", mode: 0o644)
    try queue.plant("local/4/79", mode: 0o600)
    try queue.remove(.mess, d)
    #expect(
      try queue.faults
        == [
          "bounce-without-info bounce/77",
          "info-without-mess \(queue.relative(.info, a))",
          "intd-leftover intd/78",
          "recipients-without-info \(queue.relative(.remote, b))",
          "recipients-without-info local/4/79",
          "todo-without-mess todo/\(d)",
        ].sorted())
  }

  @Test(
    "a message without envelope is news only when no client can be that slow, and a fault after 36 hours"
  )
  func unfinished() throws {
    let queue = try CheckedQueue()
    for (name, age) in [("new", 60), ("slow", 3600), ("dead", 140_000)] {
      try queue.plant("pid/\(name)", mode: 0o644, age: age)
      let inode = try FileStatus.of(queue.full("pid/\(name)")).inode
      rename(queue.full("pid/\(name)"), try queue.layout.path(.mess, inode))
    }
    let findings = try queue.findings
    #expect(Set(findings.map(\.fault)) == [.writing, .messAlone] && findings.count == 2)
    #expect(findings.filter(\.fault.isNote).map(\.fault) == [.writing])
  }

  @Test("wrong numbers, wrong directories, odd names and directories of an earlier split are found")
  func places() throws {
    let queue = try CheckedQueue()
    let id = queue.ids[1]
    rename(
      try queue.layout.path(.remote, id), queue.full("remote/\((id + 1) % 5)/\(id)"))
    try queue.plant("mess/0/10", mode: 0o644, age: 140_000)
    try queue.plant("info/0/10", [], mode: 0o600)
    try queue.plant("todo/.nfs1", mode: 0o644)
    try queue.plant("info/1/007", mode: 0o600)
    mkdir(queue.full("local/5"), 0o700)
    symlink("/etc/passwd", queue.full("mess/2/2"))
    close(creat(Array(queue.full("todo/x").utf8CString.dropLast()) + [-1, 27, 0], 0o644))
    let faults = try queue.faults
    #expect(
      faults == [
        "junk info/1/007", "junk local/5", "junk mess/2/2", "junk todo/.nfs1",
        "junk todo/x\u{FFFD}\u{1B}",
        "wrong-directory remote/\((id + 1) % 5)/\(id)", "wrong-number mess/0/10",
      ])
  }

  @Test("wrong modes of files and directories are found")
  func modes() throws {
    let queue = try CheckedQueue()
    let id = queue.ids[0]
    chmod(try queue.layout.path(.mess, id), 0o600)
    chmod(try queue.layout.path(.info, id), 0o666)
    chmod(queue.full("todo"), 0o755)
    chmod(queue.full("lock/trigger"), 0o600)
    #expect(
      try queue.faults
        == [
          "wrong-mode \(queue.relative(.info, id))", "wrong-mode \(queue.relative(.mess, id))",
          "wrong-mode lock/trigger", "wrong-mode todo",
        ].sorted())
  }

  @Test(
    "a file of another owner is found", .enabled(if: getuid() == 0, "only root can give files away")
  )
  func owners() throws {
    let queue = try CheckedQueue()
    chown(try queue.layout.path(.remote, queue.ids[1]), 12345, 12345)
    chown(queue.full("bounce"), 12345, gid_t.max)
    let findings = try queue.findings
    #expect(findings.map(\.fault) == [.wrongOwner, .wrongOwner])
    #expect(findings.allSatisfy { $0.detail == "uid 12345, not 0" })
  }

  @Test(
    "the lock files: missing, no FIFO, nobody listening, tcpto of a wrong size or ahead of the clock"
  )
  func locks() throws {
    let queue = try CheckedQueue()
    try queue.qmail.start(at: queue.now)
    #expect(try queue.faults == ["trigger-dead lock/trigger"])
    let listener = try Descriptor.open(queue.full("lock/trigger"))
    #expect(try queue.faults == [])
    _ = consume listener
    queue.qmail.stop(at: queue.now)

    var hosts = [UInt8](repeating: 0, count: 1024)
    let later = UInt32(queue.now.seconds) + 86_400
    for (at, tries) in [(16, UInt8(3)), (32, UInt8(1))] {
      hosts[at + 4] = tries
      for byte in 0..<4 { hosts[at + 8 + byte] = UInt8(truncatingIfNeeded: later >> (8 * byte)) }
    }
    try queue.plant("lock/tcpto", hosts, mode: 0o644)
    let ahead = try queue.findings
    #expect(ahead.map(\.fault) == [.tcptoAhead] && ahead.first?.detail == "1 host")
    truncate(queue.full("lock/tcpto"), 20)
    unlink(queue.full("lock/trigger"))
    unlink(queue.full("lock/sendmutex"))
    try queue.plant("lock/trigger", mode: 0o622)
    #expect(
      try queue.faults == [
        "missing lock/sendmutex", "tcpto-size lock/tcpto", "trigger-no-fifo lock/trigger",
      ])
  }

  @Test(
    "mended: orphans that are old move to lost+found whole, files go where they belong; the rest is left"
  )
  func mend() throws {
    let queue = try CheckedQueue()
    let layout = try queue.layout
    let (a, b) = (queue.ids[0], queue.ids[1])
    let lost = "\(queue.directory)/lost+found"
    let info = try Descriptor.open(layout.path(.info, a)).readAll(limit: 1000)
    try queue.remove(.mess, a)
    let astray = "remote/\((b + 1) % 5)/\(b)"
    rename(layout.path(.remote, b), queue.full(astray))
    chmod(layout.path(.info, b), 0o666)
    chmod(queue.full("todo"), 0o755)
    try queue.plant("bounce/77", Array("<x@y>:\nno\n\n".utf8), mode: 0o600)
    try queue.plant("intd/78", mode: 0o644)
    try queue.plant("mess/0/10", mode: 0o644, age: 140_000)
    try queue.plant("info/0/10", mode: 0o600)
    unlink(queue.full("lock/trigger"))
    try queue.plant("lock/tcpto", [1, 2], mode: 0o644)
    let findings = try queue.findings
    let mend = try QueueMend(layout: layout, lostAndFound: lost)
    // Young orphans may be mail under way somewhere.
    #expect(
      Set(mend.plan(findings, at: queue.now).filter { $0.action == nil }.map(\.finding.fault))
        == [.infoWithoutMess, .bounceWithoutInfo, .intdLeftover, .wrongNumber])

    let later = queue.now + .seconds(140_000)
    let steps = mend.plan(findings, at: later)
    var failures: [String] = []
    try mend.carryOut(steps, at: later) { _, failure in failures += failure.map { [$0] } ?? [] }
    #expect(failures == [])
    #expect(try queue.faults == ["wrong-number mess/0/10"])
    #expect(isThere(layout.path(.remote, b)) && !isThere(queue.full(astray)))
    let kept = try Descriptor.open(lost, .directory).names()
    #expect(
      Set(kept.map { $0.split(separator: ".").dropLast().joined(separator: "/") })
        == [
          try queue.relative(.info, a), try queue.relative(.local, a), "bounce/77", "intd/78",
        ])
    let name = try #require(kept.first { $0.hasPrefix("info.") })
    #expect(try Descriptor.open("\(lost)/\(name)").readAll(limit: 1000) == info)
    #expect(try FileStatus.of(queue.full("lock/tcpto")).size == 1024)

    try queue.qmail.start(at: queue.now)
    #expect(throws: MendError.self) {
      try mend.carryOut(steps, at: later) { _, _ in Issue.record("nothing may be touched") }
    }
  }

  @Test("a bounce that qwarden moved aside is a note once its message is gone, and nothing before")
  func asides() throws {
    let queue = try CheckedQueue()
    let birth = try FileStatus.of(queue.layout.path(.info, queue.ids[1])).modified.nanoseconds
    try queue.plant("bounce/qwarden.\(queue.ids[1]).\(birth)", mode: 0o600)
    #expect(try queue.faults == [])
    try queue.plant("bounce/qwarden.\(queue.ids[1]).17", mode: 0o600)
    #expect(try queue.faults == ["bounce-aside bounce/qwarden.\(queue.ids[1]).17"])
    #expect(try queue.findings.allSatisfy(\.fault.isNote))
  }

  @Test("what was only under way at the first look is dropped at the second")
  func races() throws {
    let queue = try CheckedQueue()
    let check = QueueCheck(layout: try queue.layout)
    let (a, b, c) = (queue.ids[0], queue.ids[1], queue.ids[2])
    try queue.remove(.mess, a)
    let kept = try queue.layout.path(.info, b)
    rename(kept, queue.full("pid/kept"))
    try queue.plant("bounce/\(UInt64(99))", mode: 0o600)
    try queue.remove(.mess, c)
    let suspicions = try check.suspicions(at: queue.now)
    #expect(suspicions.count == 4)
    // The first ends, the second gets its envelope, the bounce's number goes to another file, the third stays broken.
    try queue.remove(.info, a)
    rename(queue.full("pid/kept"), kept)
    unlink(queue.full("bounce/99"))
    try queue.plant("bounce/99", mode: 0o600, age: 7)
    let confirmed = try check.confirmed(suspicions, at: queue.now)
    #expect(confirmed.map(\.fault) == [.infoWithoutMess])
    #expect(confirmed.first?.path == (try queue.relative(.info, c)))
  }

  @Test("each fault says what it means and how to mend it, and has a name of its own")
  func texts() {
    for fault in QueueFault.allCases {
      #expect(fault.meaning.count > 20 && fault.remedy.count > 3)
      #expect(!fault.meaning.hasSuffix(".") && !fault.rawValue.contains(" "))
    }
  }

  private func isThere(_ path: String) -> Bool { (try? FileStatus.of(path)) != nil }
}
