import Files
import Fixtures
import Glibc
import Ledger
import Mail
import Policy
import QmailControl
import QmailQueue
import QmailSimulator
import Response
import Selection
import Testing

@testable import qwarden

@Suite struct RemovalTests {
  private static let now = Timestamp(seconds: 1_795_455_663)

  private func message(
    _ id: UInt64, _ sender: String, size: Int64 = 1000, recipients: Int = 1, subject: String = "",
    isUnprocessed: Bool = false
  ) -> ChosenMessage {
    ChosenMessage(
      identity: EntryIdentity(id: id, birth: Self.now - .seconds(Int64(id))),
      sender: Address(sender), size: size, recipients: recipients, isUnprocessed: isUnprocessed,
      subject: Array(subject.utf8))
  }

  @Test("the plan says how much, the five most frequent senders and three samples, safely")
  func plan() {
    var messages: [ChosenMessage] = []
    for number in 0..<7 {
      let sender = number == 6 ? "" : "s\(number)@x.test"
      for copy in 0...number { messages.append(message(UInt64(100 + 10 * number + copy), sender)) }
    }
    messages.append(
      message(
        7200, "\u{1B}[31m@x.test", size: 52_000, recipients: 12,
        subject: "=?utf-8?Q?Gr=C3=BC=C3=9Fe?= \u{1B}[2J"))
    messages.append(message(90, "s6@y.test", isUnprocessed: true))
    let plan = RemovalPlan(messages, leaving: 1, missing: [5])
    #expect(
      plan.text(now: Self.now, Style(isColoured: false)) == """
        30 messages, 81k bytes, 41 recipients still to be tried
        1 not taken in by qmail-send yet
        1 more message with no recipient left to try: qmail-send removes such by itself
        5 is not selected, or not in the queue
        senders:
                7  <>
                6  <s5@x.test>
                5  <s4@x.test>
                4  <s3@x.test>
                3  <s2@x.test>
                5  from 4 other senders
        for example:
             7200   2h   52k  <\\x1B[31m@x.test>  Grüße \\x1B[2J
              166   2m  1.0k  <>  
              165   2m  1.0k  <>  

        """)
    #expect(
      RemovalPlan([message(1, "a@b")]).text(now: Self.now, Style(isColoured: false)).hasPrefix(
        "1 message, 1.0k bytes, 1 recipient still to be tried\nsenders:\n"))
  }

  @Test("a plan is made of what the selection means, and names what is not there")
  func choosing() throws {
    let queue = try SampleQueue()
    let layout = try QueueLayout.read(qmail: queue.qmail)
    var selection = Selection()
    selection.ids = [1_412_638, 1_412_801, 77]
    let plan = try RemovalPlan(selection, layout, now: Self.now)
    #expect(Set(plan.messages.map(\.identity.id)) == [1_412_638, 1_412_801])
    #expect(plan.messages.filter(\.isUnprocessed).map(\.identity.id) == [1_412_801])
    #expect(plan.missing == [77])
    selection.ids = []
    selection.isDoubleBounce = true
    #expect(try RemovalPlan(selection, layout, now: Self.now).messages.count == 2)
  }

  @Test("off a terminal nothing is done without --yes, and on one only a yes is a yes")
  func confirmation() throws {
    let script = Confirmation(isGiven: false, isTerminal: false) { _ in "y" }
    let refused = #expect(throws: PlainFailure.self) { try script.require("Delete 3 messages?") }
    #expect(refused?.exitCode == 64)
    #expect(refused?.description.contains("--yes") == true)
    try Confirmation(isGiven: true, isTerminal: false) { _ in nil }.require("?")
    for answer in ["", "n", "yess", nil] {
      let person = Confirmation(isGiven: false, isTerminal: true) { _ in answer }
      let kept = #expect(throws: PlainFailure.self) { try person.require("?") }
      #expect(kept?.exitCode == 1)
    }
    var question = ""
    try Confirmation(isGiven: false, isTerminal: true) {
      question = $0
      return "Yes"
    }.require("Delete 3 messages?")
    #expect(question == "Delete 3 messages? [y/N] ")
  }

  /// A simulated qmail and hands for it; time passes only in `pause`.
  private final class Yard {
    private let folder = TemporaryFolder()
    let path: String
    let sim: SimulatedQmail
    let hands: Responder
    var now = WallClock.now() - .seconds(50_000)

    init() throws {
      path = folder.path
      sim = try SimulatedQmail.create(
        at: "\(path)/qmail", time: .virtual, exchanger: SteadyExchanger { _ in .deferral })
      try sim.start(at: now)
      try Folder.make("\(path)/state")
      var policy = Policy()
      policy.quarantine.minimumFreeSpace = 0
      policy.quarantine.minimumFreeInodes = 0
      hands = Responder(
        places: .init(qmail: "\(path)/qmail", state: "\(path)/state"),
        layout: try QueueLayout.read(qmail: "\(path)/qmail"),
        ledger: try Ledger("\(path)/state/ledger.sqlite"), policy: policy,
        control: try ControlDirectory(qmail: "\(path)/qmail").read(), dialect: .stock)
    }

    func inject(from sender: String) throws {
      try sim.inject(
        SimulatedInjection(
          sender: Address(sender), recipients: [Address("bob@remote.example")],
          source: .network(client: "198.18.0.9", helo: "x", user: "alice"),
          message: Array("Subject: spam\n\nhello\n".utf8)), at: now)
    }

    func pass(seconds: Double) {
      let end = now + .milliseconds(Int64(seconds * 1000))
      sim.advance(to: end, from: now)
      now = end
    }

    func plan(_ sender: String) throws -> RemovalPlan {
      var selection = Selection()
      selection.senders = [try Pattern(sender)]
      return try RemovalPlan(selection, hands.layout, now: now)
    }

    func work(wait: Double?, keepsCopy: Bool = true, isMoving: Bool = true) -> RemovalWork {
      RemovalWork(
        hands: hands, order: RemovalOrder(by: "root", reason: "", keepsCopy: keepsCopy),
        wait: wait, isDaemonRunning: false, clock: { self.now },
        pause: {
          if isMoving { self.pass(seconds: 0.2) } else { self.now = self.now + .seconds(1) }
        })
    }
  }

  @Test("a selection is removed by its conditions, others stay, and a second look finds no more")
  func removal() throws {
    let yard = try Yard()
    for _ in 0..<3 { try yard.inject(from: "spam@mx.test") }
    try yard.inject(from: "carol@mx.test")
    yard.pass(seconds: 5)
    let plan = try yard.plan("spam@*")
    #expect(plan.messages.count == 3)
    let account = yard.work(wait: nil).carryOut(plan.messages)
    #expect(account.failure == nil)
    #expect(plan.messages.allSatisfy { account.told($0).name == .removed })
    let again = try yard.plan("spam@*")
    #expect(again.messages.isEmpty && again.leaving == 3)
    #expect(try yard.plan("carol@*").messages.count == 1)
    yard.pass(seconds: 3600)
    #expect(try yard.plan("spam@*").leaving == 0)
    #expect(try yard.plan("carol@*").messages.count == 1)
  }

  @Test("a message in todo is told, waited for on request, and removed once it is taken in")
  func unprocessed() throws {
    let yard = try Yard()
    try yard.inject(from: "spam@mx.test")
    let plan = try yard.plan("spam@*")
    let message = try #require(plan.messages.first)
    #expect(message.isUnprocessed)
    let told = yard.work(wait: nil).carryOut(plan.messages).told(message)
    #expect(told.name == .unprocessed && told.staysInQueue && told.why.contains("--wait"))
    let inVain = yard.work(wait: 3, isMoving: false).carryOut(plan.messages).told(message)
    #expect(inVain.name == .unprocessed)
    let waited = yard.work(wait: 10, keepsCopy: false).carryOut(plan.messages)
    #expect(waited.told(message).name == .removed)
    #expect(try yard.plan("spam@*").leaving == 1)
    #expect(try Descriptor.open("\(yard.path)/state/quarantine", .directory).names() == [])
  }

  @Test(
    "with qmail-send stopped messages are removed at once, those in todo too, and not waited for")
  func stopped() throws {
    let yard = try Yard()
    try yard.inject(from: "spam@mx.test")
    yard.pass(seconds: 5)
    yard.sim.kill()
    try yard.inject(from: "spam@mx.test")
    let plan = try yard.plan("spam@*")
    let before = yard.now
    let account = yard.work(wait: 1000).carryOut(plan.messages)
    #expect(yard.now == before)
    #expect(plan.messages.map { account.told($0).name } == [.removed, .removed])
    let after = try yard.plan("spam@*")
    #expect(after.messages.isEmpty && after.leaving == 0)
  }

  @Test("a message that left between the plan and the work is told as gone")
  func gone() throws {
    let yard = try Yard()
    try yard.inject(from: "spam@mx.test")
    yard.pass(seconds: 5)
    let plan = try yard.plan("spam@*")
    yard.sim.exchanger = SteadyExchanger { _ in .success }
    yard.pass(seconds: 3600)
    let account = yard.work(wait: nil).carryOut(plan.messages)
    #expect(account.told(plan.messages[0]).name == .gone)
    #expect(!account.told(plan.messages[0]).staysInQueue)
  }

  @Test("retry finds the process that holds sendmutex, and only when it is qmail-send")
  func retry() throws {
    let yard = try Yard()
    // The simulator's own lock is held by this test process.
    #expect(QmailSend.isRunning(yard.hands.layout) == true)
    #expect(QmailSend.process(yard.hands.layout) == nil)
    #expect(try QmailSend.tryAllNow(yard.hands.layout) == nil)
    yard.sim.kill()

    // flock(1) under qmail-send's name: SIGALRM ends it.
    let program = "\(yard.path)/qmail-send"
    guard let flock = try? Descriptor.open("/usr/bin/flock").readAll(limit: 1 << 22) else {
      return  // not installed
    }
    try Replacement.write(flock, to: program, mode: 0o755)
    var pid: pid_t = 0
    let words = [program, "\(yard.path)/qmail/queue/lock/sendmutex", "sleep", "3"]
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
    defer { for word in arguments { free(word) } }
    // The threads that run tests block signals, and a child would inherit that.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    try #require(posix_spawn(&pid, program, nil, &attributes, &arguments, environ) == 0)
    for _ in 0..<100 where QmailSend.process(yard.hands.layout) == nil { usleep(20_000) }
    #expect(QmailSend.process(yard.hands.layout) == pid)
    #expect(try QmailSend.tryAllNow(yard.hands.layout) == pid)
    var status: Int32 = 0
    #expect(waitpid(pid, &status, 0) == pid)
    #expect(status & 0x7F == SIGALRM)
  }

  @Test("retry counts what would be tried at once; a selection narrows only what is told")
  func retryCounts() throws {
    let queue = try SampleQueue()
    let layout = try QueueLayout.read(qmail: queue.qmail)
    var selection = Selection()
    let all = try RetryCounts(selection, layout, now: Self.now)
    #expect(all.waiting == 7 && all.selected == 7 && all.leaving == 0)
    selection.isDoubleBounce = true
    let some = try RetryCounts(selection, layout, now: Self.now)
    #expect(some.waiting == 7 && some.selected == 2)
    #expect(
      some.text(isNarrowed: true).contains("selected are 2 of them; the others are tried too"))
  }
}
