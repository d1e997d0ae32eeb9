import Files
import Fixtures
import Foundation
import GRDB
import Glibc
import Ledger
import Mail
import Policy
import QmailQueue
import QmailSimulator
import Testing

@testable import Response

/// The real program, killed by SIGKILL just before its n-th call that changes anything; then the next start, and the account.
///
/// A shim that LD_PRELOAD puts between the program and libc counts the calls and kills. `make crash` does it for every n; the suite for a
/// sample that is another in each sequence.
@Suite(
  .serialized, .enabled(if: Shim.shared != nil, "needs a C compiler and the built program"))
struct CrashTests {
  enum Sequence: String, CaseIterable {
    case quarantine, delete, release, block, unblock, expireBlock, expireQuarantine, migrateLedger
    /// With qmail-send stopped, and messages in todo.
    case stoppedQueue
  }

  @Test(
    "killed before any call that changes something: nothing lost, nothing half done",
    arguments: Sequence.allCases)
  func everyCall(_ sequence: Sequence) throws {
    let shim = try #require(Shim.shared)
    let whole = try Crash(sequence, shim)
    let calls = try whole.begin(at: nil)
    #expect(calls > 10, "\(sequence): only \(calls) calls were counted")
    try whole.check("not killed")
    let isSweep = getenv("QWARDEN_CRASH_SWEEP") != nil
    let stride = isSweep ? 1 : max(calls / 3, 1)
    for call in Swift.stride(
      from: isSweep ? 1 : 1 + sequence.rawValue.utf8.count % stride, through: calls, by: stride)
    {
      let crash = try Crash(sequence, shim)
      try crash.begin(at: call)
      let place = "killed before call \(call) of \(calls)"
      try crash.checkNothingLost(place)
      try crash.restart(place)
      try crash.check(place)
    }
    if isSweep {
      print(
        "crash: \(sequence.rawValue): killed before each of \(calls) calls, every invariant held")
    }
  }
}

/// One run of a sequence on a simulated qmail of its own.
final class Crash {
  let sequence: CrashTests.Sequence
  let shim: Shim
  let bench: Workbench
  let layout: QueueLayout
  var messages: [EntryIdentity: [UInt8]] = [:]
  /// A recipient that no other message has.
  var recipients: [EntryIdentity: String] = [:]
  let other: EntryIdentity
  static let adminLines = "admin@spam.test\n# mine\nlast@spam.test"
  /// Recipients of each message that were still to be tried.
  static let pending = 2

  init(_ sequence: CrashTests.Sequence, _ shim: Shim) throws {
    self.sequence = sequence
    self.shim = shim
    bench = try Workbench()
    layout = try QueueLayout.read(qmail: bench.qmail)
    bench.obey { $0.recipient == Address("no@remote.example") ? .failure : .deferral }
    for number in 0..<3 {
      let identity = try bench.message(
        to: ["a\(number)@remote.example", "b@mx.test", "no@remote.example"],
        body: String(repeating: "x", count: number * 3000))
      messages[identity] = try bench.bytes(layout.path(.mess, identity.id))
      recipients[identity] = "a\(number)@remote.example"
    }
    other = try bench.message(from: "carol@mx.test")
    try bench.write(Self.adminLines, to: bench.badmailfrom)
    try bench.write(
      "mode: observe\nlog:\n  source: none\nquarantine:\n  minimum-free-space: 0%\n  minimum-free-inodes: 0%\nblocking:\n  dialect: stock\n",
      to: "\(bench.path)/policy.yaml")
    let now = WallClock.now()
    switch sequence {
    case .quarantine, .delete, .block: break
    case .stoppedQueue:
      bench.sim.kill()
      for number in 3..<5 {
        let recipient = "a\(number)@remote.example"
        let new = try bench.unprocessed(from: "alice@mx.test", to: [recipient, "b@mx.test"])
        messages[new.identity] = try bench.bytes(layout.path(.mess, new.identity.id))
        recipients[new.identity] = recipient
      }
    case .release, .expireQuarantine:
      let responder = try bench.responder()
      if sequence == .expireQuarantine { responder.policy.quarantine.keep = .seconds(60) }
      let order = RemovalOrder(by: "root", reason: "", keepsCopy: true)
      let (_, failure) = responder.remove(
        messages.keys.sorted().map { ($0, Address("alice@mx.test")) }, by: order,
        at: sequence == .expireQuarantine ? now - .seconds(3600) : now)
      #expect(failure == nil)
      bench.pass(seconds: 3600)
      _ = responder.quarantineTick(at: now)
    case .unblock, .expireBlock:
      let past = sequence == .expireBlock ? now - .seconds(7200) : now
      _ = try bench.responder().block(
        Address("spam@bad.test"), lasting: .seconds(3600), reason: "r", by: "root", at: past)
      #expect(try bench.text(bench.badmailfrom).contains("\nspam@bad.test\n"))
    case .migrateLedger:
      let sample = "LedgerTests/Samples/ledger-1.sql"
      let tests = String(#filePath.dropLast("ResponseTests/CrashTests.swift".utf8.count))
      let sql = try String(contentsOfFile: tests + sample, encoding: .utf8)
      try DatabaseQueue(path: "\(bench.state)/ledger.sqlite")
        .writeWithoutTransaction { try $0.execute(sql: sql) }
    }
  }

  private var places: [String] {
    ["--qmail", bench.qmail, "--state", bench.state, "--policy", "\(bench.path)/policy.yaml"]
  }

  /// - Returns: how many calls were counted.
  @discardableResult
  func begin(at call: Int?, disk: Disk? = nil) throws -> Int {
    let chosen = ["--sender", "alice@mx.test", "--yes"]
    let words: [String] =
      switch sequence {
      case .quarantine, .stoppedQueue: ["quarantine"] + chosen
      case .delete: ["delete"] + chosen
      case .release: ["release"] + chosen
      case .block: ["block", "spam@bad.test"]
      case .unblock: ["unblock", "spam@bad.test"]
      case .expireBlock, .expireQuarantine: ["run", "--once"]
      case .migrateLedger: ["incidents"]
      }
    let result = try shim.run(words + places, at: call, in: bench.path, disk: disk)
    if let call {
      #expect(result.wasKilled, "\(sequence): not killed at call \(call): \(result.output)")
    } else {
      #expect(result.status == 0, "\(sequence): \(result.output)")
    }
    return result.calls
  }

  /// The daemon, once: it finishes what was left.
  func restart(_ place: String, disk: Disk? = nil) throws {
    // The program of qmail's that a release started may outlive its master for a moment.
    for _ in 0..<2 {
      let result = try shim.run(
        (sequence == .migrateLedger ? ["incidents"] : ["run", "--once"]) + places, at: nil,
        in: bench.path, disk: disk)
      #expect(result.status == 0, "\(sequence), \(place): the next start failed: \(result.output)")
      usleep(20_000)
    }
  }

  /// What holds at every moment.
  func checkNothingLost(_ place: String) throws {
    try checkBadmailfrom(place)
    guard [.quarantine, .delete, .stoppedQueue].contains(sequence) else { return }
    let store = try? QuarantineStore(path: "\(bench.state)/quarantine", creating: false)
    for (identity, original) in messages {
      if try isUntouched(identity) { continue }
      if sequence == .delete, try bench.letters(identity)?.contains("T") == false { continue }
      let kept = try #require(store, "\(sequence), \(place): a message is marked and nowhere else")
      #expect(
        try kept.message(identity).read(limit: 1 << 20) == original, "\(sequence), \(place)")
    }
  }

  /// In the queue, as it was.
  private func isUntouched(_ identity: EntryIdentity) throws -> Bool {
    let todo = try? FileStatus.of(layout.path(.todo, identity.id))
    if todo?.modified == identity.birth { return true }
    return try bench.letters(identity)?.count { $0 == "T" } == Self.pending
  }

  private func checkBadmailfrom(_ place: String) throws {
    let text = try bench.text(bench.badmailfrom)
    #expect(text.hasPrefix(Self.adminLines), "\(sequence), \(place): \(text)")
    #expect(try FileStatus.of(bench.badmailfrom).permissions == 0o644, "\(sequence), \(place)")
  }

  /// What holds after the next start.
  func check(_ place: String) throws {
    let what: Comment = "\(sequence), \(place)"
    try checkBadmailfrom(place)
    let ledger = try Ledger("\(bench.state)/ledger.sqlite")
    if sequence == .migrateLedger {
      #expect(try ledger.openIncidents().count == 1, what)
      #expect(try ledger.standingBlocks().map(\.entry) == [Address("alice@mx.test")], what)
      #expect(try ledger.points(incident: 7) == [], what)
      return
    }
    let standing = try ledger.standingBlocks()
    let own = try bench.text(bench.badmailfrom).contains("spam@bad.test")
    #expect(own == standing.contains { $0.entry == Address("spam@bad.test") }, what)
    #expect(standing.allSatisfy { $0.state == .active }, what)
    #expect(try bench.letters(other) == "T", what)
    let litter = try Descriptor.open("\(bench.qmail)/control", .directory).names().filter {
      $0.hasPrefix(".")
    }
    #expect(litter.count <= 1, "\(what): \(litter)")

    let store = try? QuarantineStore(path: "\(bench.state)/quarantine", creating: false)
    let contents = try store?.contents()
    #expect(contents?.partial ?? [] == [] && contents?.foreign ?? [] == [], what)
    #expect(
      try Descriptor.open("\(layout.queue)/bounce", .directory).names()
        .filter { $0.hasPrefix("qwarden") } == [], what)
    let queued = try released()
    for (identity, recipient) in recipients {
      let row = try ledger.quarantine(of: identity)
      let isHeld = contents?.messages.contains(identity) == true
      let letters = try bench.letters(identity)
      let isUntouched = try isUntouched(identity)
      #expect(
        isUntouched || letters?.contains("T") != true, "\(what): half marked: \(letters ?? "")")
      if let store, isHeld {
        #expect(try store.message(identity).read(limit: 1 << 20) == messages[identity], what)
      }
      let copies = queued.count { $0.contains(recipient) }
      switch row?.state {
      case nil, .abandoned, .intended:
        #expect(
          isUntouched || sequence == .block || sequence == .unblock || sequence == .expireBlock,
          what)
        #expect(!isHeld, what)
      case .marked, .gone, .releaseInDoubt:
        #expect(isHeld && !isUntouched, what)
        #expect(row?.state == .releaseInDoubt || copies == 0, "\(what): kept and released")
      case .released: #expect(copies == 1 && !isHeld, "\(what): released \(copies) times")
      case .expired: #expect(!isHeld && !isUntouched, what)
      case .copied, .expiring, .releasing:
        Issue.record("\(what): left half done: \(row?.state as Any)")
      }
    }
  }

  /// The recipients of each message that a release put into the queue.
  private func released() throws -> [String] {
    var found: [String] = []
    for id in try Descriptor.open("\(layout.queue)/todo", .directory).names() {
      found.append(String(decoding: try bench.bytes("\(layout.queue)/todo/\(id)"), as: UTF8.self))
    }
    return found
  }
}

extension Shim {
  func run(_ words: [String], at call: Int?, in folder: String, disk: Disk?) throws -> Result {
    try run(
      words, at: call, in: folder,
      others: ([disk?.preload].compactMap(\.self), disk?.environment ?? [:]))
  }
}
