import Files
import Glibc
import Ledger
import Mail
import Policy
import QmailControl
import Synchronization
import Testing

@testable import Response

@Suite struct BlockingTests {
  private let alice = Address("alice@mx.test")

  private func block(_ entry: Address, seconds: Double = 3600) -> PlannedAction {
    PlannedAction(
      incident: 1, action: .block(entry, lasting: .seconds(seconds)), reason: "relay-sender")
  }

  @Test(
    "a block's life: into badmailfrom, out when its time has run out, the administrator's bytes kept"
  )
  func life() throws {
    let bench = try Workbench()
    let admin = "# mine\r\nspammer@bad.example\nno newline at the end"
    try bench.write(admin, to: bench.badmailfrom)
    let responder = try bench.responder()
    let outcomes = responder.perform([block(alice)], at: bench.now)
    #expect(outcomes.compactMap(\.blocked).map(\.entry) == [alice])
    #expect(try bench.text(bench.badmailfrom).contains("\nalice@mx.test\n"))
    #expect(try responder.ledger.standingBlocks().map(\.state) == [.active])
    #expect(responder.tendBlocks(at: bench.now + .seconds(3599)) == [])
    let ended = responder.tendBlocks(at: bench.now + .seconds(3600))
    #expect(ended.compactMap(\.unblocked).map(\.entry) == [alice])
    #expect(ended.compactMap(\.unblocked).first?.removal?.by == "qwarden")
    #expect(try bench.text(bench.badmailfrom).hasPrefix(admin))
    #expect(try !bench.text(bench.badmailfrom).contains("alice"))
    #expect(try responder.ledger.blocks([.removed]).count == 1)
    #expect(try responder.ledger.actions().map(\.action).sorted() == ["block", "unblock"])
  }

  @Test("an administrator's unblock is remembered")
  func unblock() throws {
    let bench = try Workbench()
    let responder = try bench.responder()
    _ = responder.perform([block(alice)], at: bench.now)
    let outcomes = responder.unblock(Address("Alice@MX.test"), by: "root", at: bench.now)
    #expect(outcomes.compactMap(\.unblocked).first?.removal?.by == "root")
    #expect(try !bench.text(bench.badmailfrom).contains("alice"))
    let context = try responder.context(at: bench.now, storms: [.test()], queueMessages: 1)
    #expect(context.graces[alice] == bench.now + bench.policy.blocking.grace)
    #expect(responder.unblock(alice, by: "root", at: bench.now) == [])
    // An administrator may block it again at once, and that ends the grace.
    _ = responder.block(alice, lasting: .seconds(60), reason: "test", by: "root", at: bench.now)
    #expect(try responder.ledger.grace(of: alice, at: bench.now) == nil)
    #expect(try responder.ledger.standingBlocks().count == 1)
  }

  @Test("an administrator's mistakes are refused and leave nothing behind")
  func mistakes() throws {
    let bench = try Workbench()
    let responder = try bench.responder()
    for entry in ["", "#@[]", "@mx.test", "postmaster@mx.test", "a b@x.test", "no-domain"] {
      let outcomes = responder.block(
        Address(entry), lasting: .seconds(60), reason: "", by: "root", at: bench.now)
      #expect(outcomes.compactMap(\.failure).first?.exitCode == 65, "\(entry)")
    }
    #expect(throws: FileError.self) { try bench.bytes(bench.badmailfrom) }
    #expect(try responder.ledger.blocks(Set(Block.State.allCases)) == [])
    // A symbolic link is refused by the file's own guards, and the intent taken back.
    symlink("/dev/null", bench.badmailfrom)
    let refused = responder.block(
      Address("x@foreign.example"), lasting: .seconds(60), reason: "", by: "root", at: bench.now)
    #expect(refused.compactMap(\.failure).count == 1)
    #expect(try responder.ledger.standingBlocks() == [])
  }

  @Test("a storm's block that cannot be written is told once, kept, and written when it can be")
  func retry() throws {
    let bench = try Workbench()
    symlink("/dev/null", bench.badmailfrom)
    let responder = try bench.responder()
    let first = responder.perform([block(alice)], at: bench.now)
    #expect(first.compactMap(\.failure).count == 1)
    #expect(responder.tendBlocks(at: bench.now + .seconds(1)) == [])
    unlink(bench.badmailfrom)
    let outcomes = responder.tendBlocks(at: bench.now + .seconds(2))
    #expect(outcomes.compactMap(\.blocked).count == 1)
    #expect(try bench.text(bench.badmailfrom).contains("\nalice@mx.test\n"))
  }

  @Test(
    "a storm's block that waits is not written once the policy is against it; an administrator's is",
    arguments: [false, true])
  func changedPolicy(isOff: Bool) throws {
    let bench = try Workbench()
    symlink("/dev/null", bench.badmailfrom)
    let responder = try bench.responder()
    #expect(responder.perform([block(alice)], at: bench.now).compactMap(\.failure).count == 1)
    if isOff {
      responder.policy.blocking.isEnabled = false
    } else {
      responder.policy.mode = .observe
    }
    _ = responder.tendBlocks(at: bench.now + .seconds(1))
    #expect(try responder.ledger.standingBlocks() == [])
    unlink(bench.badmailfrom)
    #expect(responder.tendBlocks(at: bench.now + .seconds(2)) == [])
    #expect(throws: FileError.self) { try bench.bytes(bench.badmailfrom) }
    // Not counted as one that has run its time.
    #expect(try responder.ledger.earlierBlocks(of: alice) == 0)
    let byHand = responder.block(
      Address("x@foreign.example"), lasting: .seconds(60), reason: "", by: "root", at: bench.now)
    #expect(byHand.compactMap(\.blocked).count == 1)
  }

  @Test("what waits for an editor is written at the next poll, also when nothing else has changed")
  func editor() throws {
    let bench = try Workbench()
    try bench.write("a@b.c\n", to: bench.badmailfrom)
    let responder = try bench.responder()
    _ = responder.recover(at: bench.now)
    do {
      let editor = try Descriptor.open(bench.badmailfrom, .write)
      let told = responder.perform([block(alice)], at: bench.now)
      #expect(told.contains { if case .failed(let why) = $0 { why.exitCode == 75 } else { false } })
      for _ in 0..<3 { _ = responder.tendAll(at: bench.now) }
      // Closed without saving.
      _ = consume editor
    }
    #expect(responder.tendAll(at: bench.now)?.outcomes.compactMap(\.blocked).count == 1)
    #expect(try bench.text(bench.badmailfrom).hasPrefix("a@b.c\n# qwarden begin\n"))
    #expect(responder.failures.isEmpty)
  }

  @Test("a line taken out by hand stays out; one lost to an editor is written again")
  func byHand() throws {
    let bench = try Workbench()
    let responder = try bench.responder()
    _ = responder.perform([block(alice, seconds: 86_400)], at: bench.now)
    try bench.write("admin@bad.example\n", to: bench.badmailfrom)
    let soon = responder.tendBlocks(at: bench.now + .seconds(60))
    #expect(soon.compactMap(\.blocked).count == 1)
    #expect(try bench.text(bench.badmailfrom).contains("alice@mx.test\n"))
    try bench.write("admin@bad.example\n", to: bench.badmailfrom)
    let later = responder.tendBlocks(at: bench.now + .seconds(3600))
    guard case .removedByHand(let removed)? = later.first else {
      Issue.record("expected a removal by hand, got \(later)")
      return
    }
    #expect(removed.entry == alice)
    #expect(try bench.text(bench.badmailfrom) == "admin@bad.example\n")
    #expect(try responder.ledger.grace(of: alice, at: bench.now + .seconds(3600)) != nil)
  }

  @Test("a tagged line that the ledger does not know is taken out and told")
  func stray() throws {
    let bench = try Workbench()
    let old = try bench.responder()
    _ = old.perform([block(alice)], at: bench.now)
    for suffix in ["", "-wal", "-shm"] { unlink("\(bench.state)/ledger.sqlite\(suffix)") }
    let outcomes = try bench.responder().recover(at: bench.now)
    guard case .strayLineRemoved(let line)? = outcomes.first else {
      Issue.record("expected a stray line, got \(outcomes)")
      return
    }
    #expect(line.sender == alice)
    #expect(try !bench.text(bench.badmailfrom).contains("alice"))
  }

  @Test("while another process has the hands, the intent stands and is carried out later")
  func busy() throws {
    let bench = try Workbench()
    let responder = try bench.responder()
    responder.patience = .milliseconds(20)
    let lock = open("\(bench.state)/lock", O_RDWR | O_CREAT, 0o600)
    #expect(flock(lock, LOCK_EX) == 0)
    let outcomes = responder.perform([block(alice)], at: bench.now)
    #expect(outcomes.compactMap(\.failure).first?.exitCode == 75)
    #expect(try responder.ledger.standingBlocks().map(\.state) == [.intended])
    close(lock)
    #expect(responder.tendBlocks(at: bench.now).compactMap(\.blocked).count == 1)
  }

  @Test("an unblock that could not take its line out does so when it is given again")
  func unblockAgain() throws {
    let bench = try Workbench()
    let responder = try bench.responder()
    #expect(responder.perform([block(alice)], at: bench.now).compactMap(\.blocked).count == 1)
    do {
      let editor = try Descriptor.open(bench.badmailfrom, .write)
      let told = responder.unblock(alice, by: "root", at: bench.now)
      #expect(told.compactMap(\.failure).map(\.exitCode) == [75])
      _ = consume editor
    }
    let again = try bench.responder().unblock(alice, by: "root", at: bench.now)
    #expect(again.contains { if case .unblocked = $0 { true } else { false } })
    #expect(try !bench.text(bench.badmailfrom).contains("alice"))
  }

  @Test(
    "a daemon does not complain of a command that has the hands for a moment, but of one that keeps them"
  )
  func lenient() throws {
    let bench = try Workbench()
    let responder = try bench.responder()
    responder.patience = .zero
    responder.lenience = .milliseconds(300)
    let hands = try FileLock.take("\(bench.state)/lock")
    #expect(responder.perform([block(alice)], at: bench.now).isEmpty)
    #expect(responder.failures.isEmpty)
    usleep(400_000)
    #expect(responder.tendBlocks(at: bench.now).compactMap(\.failure).count == 1)
    _ = consume hands
    #expect(responder.tendBlocks(at: bench.now).compactMap(\.blocked).count == 1)
    #expect(responder.failures.isEmpty)
  }

  @Test("who waits for the hands has them next, however soon their owner wants them again")
  func inTurn() throws {
    let bench = try Workbench()
    let state = bench.state
    let hasBegun = Atomic<Bool>(false)
    let isOver = Atomic<Bool>(false)
    let isServed = Atomic<Bool>(false)
    try SharedWork.run(2, apart: .keepingAll) { thread throws(FileError) in
      if thread == 0 {
        for _ in 0..<100 where !isOver.load(ordering: .relaxed) {
          let hands = try HandsLock.take(state: state, patience: .seconds(5))
          hasBegun.store(true, ordering: .relaxed)
          usleep(50_000)
          _ = consume hands
        }
      } else {
        while !hasBegun.load(ordering: .relaxed) { usleep(1000) }
        if let hands = try HandsLock.take(state: state, patience: .seconds(2)) {
          isServed.store(true, ordering: .relaxed)
          _ = consume hands
        }
        isOver.store(true, ordering: .relaxed)
      }
      return true
    }
    let wasServed = isServed.load(ordering: .relaxed)
    #expect(wasServed)
  }

  @Test(
    "killed anywhere in blocking and unblocking: a fresh start makes file and ledger agree",
    arguments: [Step.blockIntended, .removalIntended, .badmailfromReplaced, .blocksSettled])
  func killed(step: Step) throws {
    for unblocking in [false, true] {
      let bench = try Workbench()
      try bench.write("admin@bad.example\n", to: bench.badmailfrom)
      var responder = try bench.responder()
      if unblocking { _ = responder.perform([block(alice)], at: bench.now) }
      responder.stopAfter = { $0 == step }
      if unblocking {
        _ = responder.unblock(alice, by: "root", at: bench.now)
      } else {
        _ = responder.perform([block(alice)], at: bench.now)
      }
      responder = try bench.responder()
      _ = responder.recover(at: bench.now)
      let text = try bench.text(bench.badmailfrom)
      #expect(text.hasPrefix("admin@bad.example\n"))
      let standing = try responder.ledger.standingBlocks()
      #expect(text.contains("\nalice@mx.test\n") == !standing.isEmpty)
      #expect(try responder.ledger.blocks([.intended, .leaving]) == [])
      // The intents that the two begin with are never lost.
      #expect(standing.isEmpty == unblocking)
      #expect(try FileStatus.of(bench.badmailfrom).permissions == 0o644)
    }
  }
}
