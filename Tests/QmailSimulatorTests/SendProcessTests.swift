import Files
import Glibc
import Mail
import QmailQueue
import Testing

@testable import QmailSimulator

@Suite struct SendProcessTests {
  @Test("preprocessing writes info and both channel files, and empties todo and intd")
  func preprocessing() throws {
    let box = try Sandbox(exchanger: SteadyExchanger { _ in .deferral })
    let id = try box.send("joe@mx.test", to: "a@mx.test", "b@Far.example", "c@LOCALHOST", "bare")
    let part = id % 23
    #expect(
      box.files == ["info/\(part)/\(id)", "local/\(part)/\(id)", "mess/\(part)/\(id)"]
        + ["remote/\(part)/\(id)"])
    #expect(box.text(.info, id) == "Fjoe@mx.test\0")
    #expect(box.text(.local, id) == "Ta@mx.test\0Tc@LOCALHOST\0Tbare@mx.test\0")
    #expect(box.text(.remote, id) == "Tb@Far.example\0")
    for kind in [QueueFile.info, .local, .remote] {
      let file = try FileStatus.of(box.path(kind, id))
      #expect(file.permissions == 0o600 && file.modified == box.zero)
    }
    #expect(box.log[1] == "new msg \(id)")
    #expect(box.log[2].hasSuffix(" from <joe@mx.test> qp 10001 uid 1000"))
  }

  @Test(
    "virtual domains are local with the prepend; bounces show it only for addresses listed one by one, as qmail's do"
  )
  func virtualDomains() throws {
    let box = try Sandbox(
      control: [
        "virtualdomains": "vdom.test:joe\n.wild.test:w\nout.wild.test:\nann@two.test:ann\n"
      ],
      exchanger: SteadyExchanger { $0.channel == .local ? .failure : .deferral })
    let id = try box.send(
      "x@far.example", to: "bob@VDOM.test", "c@a.wild.test", "d@out.wild.test", "ann@two.test",
      "e@two.test", "f@wild.test")
    #expect(
      box.text(.remote, id) == "Td@out.wild.test\0Te@two.test\0Tf@wild.test\0")
    #expect(
      box.text(.bounce, id)?.split(separator: "\n").filter { $0.hasPrefix("<") }
        == ["<bob@VDOM.test>:", "<c@a.wild.test>:", "<ann-ann@two.test>:"])
    #expect(
      box.log.filter { $0.contains(" to local ") }.map { $0.split(separator: " ").last }
        == ["joe-bob@VDOM.test", "w-c@a.wild.test", "ann-ann@two.test"])
  }

  @Test("retries come at birth + (sqrt(age) + 10 or 20)²")
  func retries() throws {
    let box = try Sandbox(exchanger: SteadyExchanger { _ in .deferral })
    try box.send("x@mx.test", to: "l@mx.test", "r@far.example")
    box.advance(to: 10_000)
    #expect(
      box.attempts("l@mx.test") == [0, 100, 400, 900, 1600, 2500, 3600, 4900, 6400, 8100, 10_000])
    #expect(box.attempts("r@far.example") == [0, 400, 1600, 3600, 6400, 10_000])
    #expect(SendProcess.nextRetry(birth: 0, now: 3600, channel: .remote) == 6400)
    #expect(SendProcess.nextRetry(birth: 0, now: 86_400, channel: .remote) == 97_969)
  }

  @Test("at most the concurrency is in flight, the next starts as one ends")
  func concurrency() throws {
    let box = try Sandbox(
      control: ["concurrencyremote": "4\n"], exchanger: SteadyExchanger(after: .seconds(10)))
    for n in 0..<6 { try box.send("x@mx.test", to: "r\(n)@far.example") }
    #expect(box.log.last { $0.hasPrefix("status") } == "status: local 0/10 remote 4/4")
    #expect(box.log.count { $0.hasPrefix("starting") } == 4)
    box.advance(to: 10)
    #expect(box.log.count { $0.hasPrefix("starting") } == 6)
    box.advance(from: 10, to: 20)
    #expect(box.log.count { $0.hasPrefix("end msg") } == 6)
    #expect(box.files.isEmpty)
  }

  @Test("marks by a stranger end the message silently at its next pass")
  func strangersMarks() throws {
    let box = try Sandbox(exchanger: SteadyExchanger { _ in .deferral })
    let id = try box.send("x@mx.test", to: "a@mx.test", "b@far.example", "c@far.example")
    try box.mark(.local, id)
    try box.mark(.remote, id)
    let before = box.log.count
    box.advance(to: 99)
    #expect(box.text(.info, id) != nil)
    box.advance(from: 99, to: 400)
    #expect(box.log[before...] == ["end msg \(id)"])
    #expect(box.files.isEmpty)
  }

  @Test("with one channel marked the other goes on; SIGALRM brings it forward")
  func oneChannelMarked() throws {
    let box = try Sandbox(exchanger: SteadyExchanger { _ in .deferral })
    let id = try box.send("x@mx.test", to: "a@mx.test", "b@far.example")
    try box.mark(.local, id)
    box.qmail.retryEverything(at: box.zero + .seconds(5))
    box.advance(from: 5, to: 5)
    #expect(box.text(.local, id) == nil)
    #expect(box.text(.remote, id) == "Tb@far.example\0")
    #expect(box.attempts("b@far.example") == [0, 5])
    #expect(box.attempts("a@mx.test") == [0])
  }

  @Test(
    "bounce/ID left in place is sent at the end; moved away, the end is silent",
    arguments: [
      true, false,
    ])
  func bounceOfARetiredMessage(moved: Bool) throws {
    let box = try Sandbox(exchanger: byLastLetter)
    let id = try box.send("x@mx.test", to: "aq@far.example", "bz@far.example")
    #expect(
      box.text(.bounce, id) == """
        <aq@far.example>:
        192.0.2.25 does not like recipient.
        Remote host said: 550 no such user <aq@far.example>
        Giving up on 192.0.2.25.


        """)
    try box.mark(.remote, id)
    if moved { rename(box.path(.bounce, id), box.directory + "/moved") }
    box.advance(to: 400)
    #expect(box.log.contains("end msg \(id)"))
    #expect(box.log.contains { $0.hasPrefix("bounce msg") } == !moved)
    #expect(box.delivered.map(\.attempt.recipient) == (moved ? [] : [Address("x@mx.test")]))
    #expect(box.files.isEmpty)
  }

  @Test(
    "a delivery in flight when marked: accepted reaches its recipient, refused makes a new bounce/ID",
    arguments: [SendLogLine.Outcome.success, .deferral, .failure])
  func inFlight(outcome: SendLogLine.Outcome) throws {
    let box = try Sandbox(exchanger: SteadyExchanger(after: .seconds(6)) { _ in outcome })
    let id = try box.send("x@far.example", to: "h@far.example")
    try box.mark(.remote, id)
    box.advance(to: 6)
    #expect(box.delivered.count == (outcome == .success ? 1 : 0))
    #expect(box.log.contains { $0.hasPrefix("bounce msg \(id)") } == (outcome == .failure))
    box.advance(from: 6, to: 400)
    #expect(box.log.contains("end msg \(id)"))
    #expect(!box.log.contains { $0.hasPrefix("warning") })
  }

  @Test("a pass that is open while marks are made still delivers what its 128-byte buffer holds")
  func openPass() throws {
    let box = try Sandbox(
      control: ["concurrencyremote": "2\n"], exchanger: SteadyExchanger(after: .seconds(1)))
    let recipients = (100..<140).map { Address("rcpt\($0)@far.example") }
    let id = try box.qmail.inject(
      SimulatedInjection(
        sender: Address("x@mx.test"), recipients: recipients, source: .uid(1), message: []),
      at: box.zero)
    box.qmail.step(now: box.zero)
    try box.mark(.remote, id)
    box.advance(to: 60)
    // Six whole records of 21 bytes fit in 128; two had been started; of the seventh only two bytes were read, its T among them.
    #expect(box.delivered.count == 7)
    #expect(box.log.contains("end msg \(id)"))
  }

  @Test(
    "a bounce goes to the sender with reports and copy, its bounce to postmaster, and the third is discarded"
  )
  func bounces() throws {
    let box = try Sandbox(exchanger: SteadyExchanger { _ in .failure })
    try box.send(
      "vic tim@far.example", to: "nosuch@mx.test",
      via: .network(client: "127.9.8.7", helo: "forger.example", user: nil),
      text: "Subject: s\n\nt\n")
    let infos = box.log.filter { $0.hasPrefix("info msg") }.map {
      $0.drop { $0 != "<" }.prefix { $0 != ">" }
    }
    #expect(infos == ["<vic_tim@far.example", "<", "<#@[]"])
    #expect(
      box.log.filter { $0.contains(" to ") }.map { String($0.split(separator: " ").last ?? "") }
        == ["nosuch@mx.test", "vic_tim@far.example", "postmaster@mx.test"])
    #expect(box.log.contains { $0.hasPrefix("triple bounce: discarding bounce/") })
    #expect(box.log.count { $0.hasPrefix("end msg") } == 3)
    #expect(box.files.isEmpty)
  }

  @Test("the text of a bounce and of a double bounce is qmail's, to the byte")
  func bounceText() throws {
    let box = try Sandbox(
      control: ["concurrencyremote": "0\n"],
      exchanger: SteadyExchanger {
        $0.recipient == Address("postmaster@mx.test") ? .deferral : .failure
      })
    try box.send("vic tim@far.example", to: "nosuch@mx.test", text: "Subject: s\n\nt\n")
    let single = try #require(try box.qmail.tree.numbers(.info).first)
    let expected = """
      Received: (qmail 10002 invoked for bounce); 23 Nov 2026 17:41:03 -0000
      Date: 23 Nov 2026 17:41:03 -0000
      From: MAILER-DAEMON@mx.test
      To: "vic tim"@far.example
      Subject: failure notice

      Hi. This is the qmail-send program at mx.test.
      I'm afraid I wasn't able to deliver your message to the following addresses.
      This is a permanent error; I've given up. Sorry it didn't work out.

      <nosuch@mx.test>:
      Sorry, no mailbox here by that name. (#5.1.1)

      --- Below this line is a copy of the message.

      Return-Path: <"vic tim"@far.example>
      Received: (qmail 10001 invoked by uid 1000); 23 Nov 2026 17:41:03 -0000
      Subject: s

      t

      """
    #expect(box.text(.mess, single) == expected)
    try box.send("", to: "nosuch@mx.test", text: "Subject: s\n\nt\n")
    let double = try #require(try box.qmail.tree.numbers(.local).first)
    #expect(box.text(.info, double) == "F#@[]\0")
    #expect(
      box.text(.mess, double)?.contains(
        """
        To: postmaster@mx.test
        Subject: failure notice

        Hi. This is the qmail-send program at mx.test.
        I tried to deliver a bounce message to this address, but the bounce bounced!

        <nosuch@mx.test>:
        Sorry, no mailbox here by that name. (#5.1.1)

        --- Below this line is the original bounce.

        Return-Path: <>
        Received: (qmail 10003 invoked by uid 1000);
        """) == true)
  }

  @Test("the number of a message that has gone is used again where the file system does so")
  func numberReuse() throws {
    let box = try Sandbox()
    let probe = box.directory + "/probe"
    func inode() throws -> UInt64 {
      let number = try Descriptor.open(probe, [.write, .create]).status().inode
      unlink(probe)
      return number
    }
    let reuses = try inode() == inode()
    var ids: Set<UInt64> = []
    var sent = 0
    // Other tests make files meanwhile and may take a number that has just become free: try until it happens.
    repeat {
      sent += 1
      ids.insert(try box.send("x@mx.test", to: "a@far.example"))
    } while ids.count == sent && sent < 300
    #expect(box.delivered.count == sent)
    // On ext4 they are; a file system that never reuses inodes (tmpfs) always gives new numbers.
    #expect(ids.count < sent || !reuses)
  }

  @Test("a message over queuelifetime fails at its next deferral and bounces")
  func lifetime() throws {
    let box = try Sandbox(
      control: ["queuelifetime": "1000\n"],
      exchanger: SteadyExchanger {
        $0.recipient.isBounceSender || $0.channel == .local ? .success : .deferral
      })
    let id = try box.send("x@mx.test", to: "a@far.example")
    box.advance(to: 1599)
    #expect(box.text(.info, id) != nil)
    box.advance(from: 1599, to: 1600)
    #expect(box.files.isEmpty)
    #expect(
      box.log.contains {
        $0.hasSuffix(
          "I'm_not_going_to_try_again;_this_message_has_been_in_the_queue_too_long./")
      })
    #expect(
      box.delivered.first.map { String(decoding: $0.message, as: UTF8.self) }?.contains(
        "this message has been in the queue too long.\n\n--- Below this line is a copy") == true)
  }

  @Test("a clean stop keeps the retry times in the files, and a start goes on from them")
  func restart() throws {
    let box = try Sandbox(exchanger: SteadyExchanger { _ in .deferral })
    let id = try box.send("x@mx.test", to: "a@far.example")
    box.qmail.stop(at: box.zero + .seconds(7))
    #expect(box.log.last == "status: exiting")
    #expect(try FileStatus.of(box.path(.remote, id)).modified == box.zero + .seconds(400))
    #expect(try FileStatus.of(box.path(.info, id)).modified == box.zero)
    try box.send("x@mx.test", to: "b@far.example", after: 8)
    #expect(box.attempts("b@far.example").isEmpty)
    try box.qmail.start(at: box.zero + .seconds(100))
    box.advance(from: 100, to: 1000)
    #expect(box.attempts("a@far.example") == [0, 400])
    #expect(box.attempts("b@far.example").first == 100)
  }

  @Test("marks made while it is down lead to a silent end after the start")
  func marksWhileDown() throws {
    let box = try Sandbox(exchanger: SteadyExchanger { _ in .deferral })
    let id = try box.send("x@mx.test", to: "a@far.example")
    box.qmail.kill()
    try box.mark(.remote, id)
    try box.qmail.start(at: box.zero + .seconds(10))
    let before = box.log.count
    box.advance(from: 10, to: 10)
    #expect(box.log[before...] == ["end msg \(id)"])
    #expect(box.files.isEmpty)
  }

  @Test(
    "while todo/ID exists marks are lost: after a crash the channel files are made anew from todo")
  func marksWhileInTodo() throws {
    let box = try Sandbox(exchanger: SteadyExchanger { _ in .deferral }, started: false)
    let id = try box.send("x@mx.test", to: "a@far.example")
    for (kind, text) in [(QueueFile.info, "Fx@mx.test\0"), (.remote, "Da@far.example\0")] {
      try Descriptor.open(box.path(kind, id), [.write, .create]).write(text.utf8, at: 0)
    }
    try box.qmail.start(at: box.zero)
    box.qmail.step(now: box.zero)
    #expect(box.text(.remote, id) == "Ta@far.example\0")
    #expect(box.attempts("a@far.example") == [0])
  }

  @Test("it holds the lock for its life, and a second one does not start")
  func lock() throws {
    let box = try Sandbox()
    let mutex = box.qmail.qmail + "/queue/lock/sendmutex"
    #expect(try LockTable.isLocked(mutex) == true)
    let other = try SimulatedQmail(at: box.qmail.qmail, time: .virtual)
    var said: [String] = []
    other.onLog = { said.append($1) }
    #expect(throws: FileError.self) { try other.start(at: box.zero) }
    #expect(said == ["alert: cannot start: qmail-send is already running"])
    box.qmail.stop(at: box.zero)
    #expect(try LockTable.isLocked(mutex) == false)
    try other.start(at: box.zero)
    #expect(other.isRunning)
  }

  @Test("files taken away under it bring qmail's warnings, and no crash")
  func filesTakenAway() throws {
    let box = try Sandbox(exchanger: SteadyExchanger { _ in .deferral })
    let id = try box.send("x@mx.test", to: "a@far.example")
    unlink(box.path(.remote, id))
    box.advance(to: 400)
    #expect(
      box.log.last == "warning: trouble opening remote/\(id % 23)/\(id); will try again later")
    try Descriptor.open(box.qmail.qmail + "/queue/todo/77", [.write, .create]).write(
      "X\0".utf8, at: 0)
    box.qmail.step(now: box.zero + .seconds(401))
    #expect(box.log.last == "warning: unable to stat mess/\(77 % 23)/77")
  }

  @Test(
    "odd bytes in addresses pass through files and come out of the log as qmail's logsafe writes them"
  )
  func oddBytes() throws {
    let box = try Sandbox(exchanger: SteadyExchanger { _ in .deferral })
    let odd: [UInt8] = Array("a b%\n".utf8) + [0xC3, 0x28, 0x7F] + Array("@far.example".utf8)
    let id = try box.qmail.inject(
      SimulatedInjection(
        sender: Address(odd), recipients: [Address(odd)], source: .uid(1), message: [0]),
      at: box.zero)
    box.qmail.step(now: box.zero)
    #expect(try Descriptor.open(box.path(.remote, id)).readAll(limit: 99) == [84] + odd + [0])
    #expect(box.log[2].contains(" from <a_b_/_(_@far.example> "))
    #expect(box.log[3] == "starting delivery 1: msg \(id) to remote a_b_/_(_@far.example")
  }

  @Test("a VERP sender is expanded for each recipient, and its bounce goes to the stem")
  func verp() throws {
    let box = try Sandbox(exchanger: byLastLetter)
    try box.send("list-@mx.test-@[]", to: "ok@far.example", "bq@far.example")
    #expect(box.delivered.first?.attempt.sender == Address("list-ok=far.example@mx.test"))
    #expect(box.delivered.last?.attempt.recipient == Address("list-@mx.test"))
    #expect(box.delivered.last?.attempt.sender == .null)
  }
}
