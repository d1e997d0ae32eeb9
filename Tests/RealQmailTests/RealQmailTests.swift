import Files
import Glibc
import Ledger
import Mail
import Policy
import QmailControl
import QmailQueue
import Response
import Systemd
import Testing
import Watchdog

/// The project held against the real thing. Skipped, with the reason, where the qmail at /var/qmail is missing or might be in use.
@Suite(
  .serialized,
  .enabled(if: RealQmail.obstacleAtStart == nil, "\(RealQmail.obstacleAtStart ?? "")"))
struct RealQmailTests {
  @Test(
    "the counts and the list are those of qmail-qstat and qmail-qread, odd bytes included",
    .timeLimit(.minutes(1)))
  func sameAsTools() async throws {
    try await RealQmail.run { qmail in
      let odd = Address([0x6F, 0x01, 0x20, 0x09, 0x7F, 0xE9, 0xFF, 0x3C, 0x22, 0x7A])
      try qmail.queue(qmail.message("1"), from: "a@sender.example", to: "late.z@one.example")
      try qmail.queue(qmail.message("2"), from: "", to: "late.z@one.example", uid: 33)
      try qmail.queue(
        qmail.message("3"), from: "b@sender.example", to: "late.z@one.example", "no.q@two.example",
        "yes.a@three.example")
      try qmail.queue(
        qmail.message("4"), from: Address(odd.bytes + Array("@sender.example".utf8)),
        to: [
          Address(odd.bytes + Array("@odd.example".utf8)), Address("late.z@one.example"),
          Address("qwarden no\none\u{80}@\(qmail.me)"),
          Address(String(repeating: "long", count: 200) + "z@one.example"),
        ])
      // Failed for good and nobody to tell, so all that is left is the one that waits.
      #expect(await qmail.wait(10) { qmail.count(.deferral) == 6 && qmail.count(.failure) == 2 })
      try compare(qmail, messages: 4, unprocessed: 0)
      qmail.stop()
      try compare(qmail, messages: 4, unprocessed: 0)
      for number in 5...7 {
        try qmail.queue(
          qmail.message("\(number)"), from: Address("new\nline@sender.example"), to: [odd])
      }
      try compare(qmail, messages: 7, unprocessed: 3)
      let entries = try qmail.entries()
      #expect(entries.count == 7)
      #expect(entries.count { $0.isBouncing } == 2)
      #expect(entries.filter(\.isUnprocessed).allSatisfy { $0.unrouted == [odd] })
      #expect(entries.contains { $0.source == .uid(33) && $0.sender == .null })
    }
  }

  private func compare(_ qmail: RealQmail, messages: Int, unprocessed: Int) throws {
    let scanner = QueueScanner(layout: qmail.layout)
    let counts = try scanner.counts()
    #expect(counts.messages == messages)
    #expect(counts.unprocessed == unprocessed)
    let said = try Child.output(of: ["\(RealQmail.home)/bin/qmail-qstat"])
    #expect(
      String(decoding: said, as: UTF8.self)
        == "messages in queue: \(messages)\nmessages in queue but not yet preprocessed: \(unprocessed)\n"
    )
    let ours = Kept<[UInt8]>()
    try scanner.qread { piece in
      ours.add(piece)
      return true
    }
    let theirs = try Child.output(of: ["\(RealQmail.home)/bin/qmail-qread"])
    #expect(records(Array(ours.values.joined())) == records(theirs))
    #expect(records(theirs).count == messages - unprocessed)
    // The same text, made from whole entries.
    let entries = try qmail.entries().map { QreadFormat.text($0) }.filter { !$0.isEmpty }
    #expect(Set(entries) == records(theirs))
  }

  /// The messages of qmail-qread's output: each begins with a line that does not begin with a blank or tab.
  private func records(_ text: [UInt8]) -> Set<[UInt8]> {
    var found: [[UInt8]] = []
    for line in text.split(separator: 10, omittingEmptySubsequences: true) {
      if line.first != 32, line.first != 9 { found.append([]) }
      found[found.count - 1] += line + [10]
    }
    return Set(found)
  }

  @Test(
    "the watcher sees each of 200 messages that fail within milliseconds, and where it came from",
    .timeLimit(.minutes(1)))
  func shortLived() async throws {
    try await RealQmail.run { qmail in
      let watch = try WatchThread(qmail.layout)
      defer { watch.stop() }
      for session in 0..<10 {
        let client = try SMTPSession(
          qmail, client: "127.9.0.\(session + 1)", user: session == 3 ? "carol" : nil,
          mayRelay: session % 2 == 1)
        for number in 0..<10 {
          let result = client.offer(
            qmail.message("net \(session).\(number)"), from: "s\(number).a@sender.example",
            to: ["qwarden-nobody-\(number)@\(qmail.me)"])
          #expect(result.message == 250)
        }
      }
      for number in 0..<100 {
        try qmail.queue(
          qmail.message("uid \(number)"), from: "w\(number).a@sender.example",
          to: "qwarden-nobody-\(number)@\(qmail.me)", uid: number % 2 == 0 ? 33 : 0)
      }
      #expect(await qmail.wait(20) { qmail.sink.mail.count == 200 }, "200 bounces")
      #expect(await qmail.wait(10) { (try? qmail.entries().isEmpty) == true })
      watch.stop()

      let arrivals = watch.arrivals
      let original = arrivals.filter { !$0.source.isBounce }
      #expect(original.count == 200)
      var sources: [String: Source] = [:]
      for entry in original {
        sources[String(decoding: entry.subject, as: UTF8.self)] = entry.source
      }
      #expect(sources.count == 200)
      for session in 0..<10 {
        for number in 0..<10 {
          #expect(
            sources["net \(session).\(number)"]
              == .network(
                client: "127.9.0.\(session + 1)", helo: "client.example",
                user: session == 3 ? "carol" : nil))
        }
      }
      for number in 0..<100 {
        #expect(sources["uid \(number)"] == .uid(number % 2 == 0 ? 33 : 0))
      }
      let bounces = arrivals.filter(\.source.isBounce)
      #expect(bounces.count == 200)
      for entry in bounces {
        guard case .bounce(.some(let origin)) = entry.source else {
          Issue.record("a bounce without its original: \(entry)")
          continue
        }
        #expect(entry.sender == .null)
        #expect(entry.recipients == [origin.sender])
        #expect(origin.failedRecipients == 1)
      }
      #expect(watch.missed == 0)
      #expect(qmail.complaints == [])
    }
  }

  /// Ten messages that wait, of which five have a bounce due, and three of somebody else.
  private func waiting(_ qmail: RealQmail) async throws -> (spam: [Entry], others: [Entry]) {
    for number in 0..<5 {
      try qmail.queue(
        qmail.message("spam \(number)", body: "one\n.two\n..\ncaf\u{E9}\n"),
        from: "spam@sender.example", to: "late.z@one.example", "yes.a@two.example",
        "late2.z@two.example")
      try qmail.queue(
        qmail.message("spam \(number + 5)"), from: "spam@sender.example", to: "no.q@one.example",
        "late.z@three.example")
    }
    for number in 0..<3 {
      try qmail.queue(
        qmail.message("other \(number)"), from: "other@sender.example", to: "no.q@one.example",
        "late.z@one.example", uid: 33)
    }
    #expect(await qmail.wait(10) { qmail.count(.deferral) == 18 && qmail.count(.failure) == 8 })
    let entries = try qmail.entries()
    let spam = entries.filter { $0.sender == Address("spam@sender.example") }
    let others = entries.filter { $0.sender == Address("other@sender.example") }
    #expect(spam.count == 10)
    #expect(spam.count { $0.isBouncing } == 5)
    #expect(others.count == 3)
    return (spam, others)
  }

  private func hands(_ qmail: RealQmail) throws -> Responder {
    var policy = Policy()
    policy.mode = .enforce
    // The machine that runs the tests may be nearly full.
    policy.quarantine.minimumFreeSpace = 0
    policy.quarantine.minimumFreeInodes = 0
    let state = "\(qmail.directory)/state"
    try Folder.make(state)
    return Responder(
      places: .init(qmail: RealQmail.home, state: state), layout: qmail.layout,
      ledger: try Ledger("\(state)/ledger.sqlite"), policy: policy, control: qmail.control,
      dialect: BadmailfromDialect.detect(qmail: RealQmail.home))
  }

  /// Sets the messages aside.
  private func quarantine(_ entries: [Entry], _ responder: Responder, _ qmail: RealQmail)
    async throws
  {
    let now = WallClock.now()
    try responder.ledger.intendQuarantine(
      of: entries.map(\.identity), incident: nil, expires: now + .seconds(3600), at: now)
    let isDone = await qmail.wait(10) {
      responder.quarantineTick(at: WallClock.now()).waiting == 0
    }
    #expect(isDone)
    #expect(try responder.ledger.quarantineCounts()[.marked] == entries.count)
  }

  @Test(
    "messages set aside end without a word, bounces included, and nobody else's is touched",
    .timeLimit(.minutes(1)))
  func retirement() async throws {
    try await RealQmail.run { qmail in
      let (spam, others) = try await waiting(qmail)
      let delivered = qmail.sink.mail.count
      let responder = try hands(qmail)
      try await quarantine(spam, responder, qmail)
      let before = qmail.log.count
      qmail.retryEverything()
      #expect(await qmail.wait(10) { (try? qmail.entries().count) == 3 })
      #expect(await qmail.wait(10) { qmail.count(.deferral) == 21 })
      let lines = qmail.logLines.dropFirst(before)
      let ended = lines.compactMap { if case .end(let id) = $0 { id } else { nil } }
      #expect(Set(ended) == Set(spam.map(\.identity.id)))
      #expect(ended.count == spam.count)
      let tried = lines.compactMap {
        if case .starting(_, let id, _, _) = $0 { id } else { nil }
      }
      #expect(Set(tried) == Set(others.map(\.identity.id)))
      #expect(!lines.contains { if case .bounce = $0 { true } else { false } })
      #expect(qmail.complaints == [])
      #expect(qmail.sink.mail.count == delivered)
      #expect(Set(try qmail.entries()) == Set(others))
      #expect(
        await qmail.wait(10) { !responder.quarantineTick(at: WallClock.now()).someLeave })
      #expect(try responder.ledger.quarantineCounts()[.gone] == spam.count)
      let names = try Descriptor.open("\(qmail.layout.queue)/bounce", .directory).names()
      #expect(Set(names) == Set(others.map { "\($0.identity.id)" }))
    }
  }

  @Test(
    "what is released reaches exactly those who were still to get it, with one Received line more",
    .timeLimit(.minutes(1)))
  func release() async throws {
    try await RealQmail.run { qmail in
      let (spam, _) = try await waiting(qmail)
      var originals: [[UInt8]: Entry] = [:]
      for entry in spam { originals[try qmail.bytes(entry.identity.id)] = entry }
      #expect(originals.count == spam.count)
      let responder = try hands(qmail)
      try await quarantine(spam, responder, qmail)
      qmail.sink.takeAll()
      let before = qmail.sink.mail.count
      for record in try responder.ledger.quarantine([.marked, .gone]) {
        let outcomes = responder.release(record, inDoubt: false, at: WallClock.now())
        guard case .released(_, let recipients) = outcomes.first else {
          Issue.record("\(outcomes)")
          continue
        }
        #expect(recipients == record.facts.recipients)
      }
      #expect(await qmail.wait(10) { qmail.sink.mail.count >= before + 15 })
      qmail.retryEverything()
      #expect(await qmail.wait(10) { (try? qmail.entries().isEmpty) == true })
      let delivered = qmail.sink.mail.dropFirst(before).filter {
        $0.sender == Array("spam@sender.example".utf8)
      }
      var reached: [[UInt8]: [Address]] = [:]
      for mail in delivered {
        let end = try #require(mail.message.firstIndex(of: 10))
        #expect(mail.message.starts(with: "Received: (qmail ".utf8))
        let original = Array(mail.message[(end + 1)...])
        #expect(originals[original] != nil, "the bytes are those that stood in the queue")
        reached[original, default: []] += mail.recipients.map { Address($0) }
      }
      for (original, entry) in originals {
        let pending = entry.remote.filter { !$0.isDone }.map(\.address)
        let got = reached[original] ?? []
        #expect(got.count == pending.count)
        #expect(Set(got) == Set(pending))
      }
      #expect(qmail.complaints == [])
    }
  }

  @Test("a line that we write into badmailfrom is obeyed at once, and so is its removal")
  func badmailfrom() async throws {
    try await RealQmail.run { qmail in
      let dialect = try #require(BadmailfromDialect.detect(qmail: RealQmail.home))
      let file = Badmailfrom(control: "\(RealQmail.home)/control", dialect: dialect)
      func offer(_ sender: String) throws -> [Int] {
        try SMTPSession(qmail, client: "127.66.6.6", user: "alice", mayRelay: true).offer(
          qmail.message("x"), from: sender, to: ["late.z@one.example"]
        ).recipients
      }
      let before = qmail.badmailfrom
      let until = WallClock.now() + .seconds(3600)
      #expect(try offer("Spammer@one.example") == [250])
      try file.replace(ownLines: [
        OwnLine(sender: Address("spammer@one.example"), until: until, incident: 1, reason: "test"),
        OwnLine(sender: Address("@whole.example"), until: until, reason: "test"),
      ])
      #expect(try offer("Spammer@ONE.example") == [553])
      #expect(try offer("anybody@whole.example") == [553])
      #expect(try offer("anybody@sub.whole.example") == [250])
      #expect(try offer("other@one.example") == [250])
      #expect(try offer("") == [250])
      try file.replace(ownLines: [])
      #expect(qmail.badmailfrom == before)
      #expect(try offer("spammer@one.example") == [250])
    }
  }

  @Test(
    "the watchdog finds, blocks and sets aside one client's flood, and leaves a list's burst alone",
    .timeLimit(.minutes(1)), arguments: [false, true])
  func watchdog(followingTheLog: Bool) async throws {
    try await RealQmail.run { qmail in
      let state = "\(qmail.directory)/state"
      var policy = Policy()
      policy.mode = .enforce
      policy.log.source = followingTheLog ? .path(qmail.logPath) : .none
      policy.polling.normal = .milliseconds(200)
      policy.polling.storm = .milliseconds(100)
      policy.quarantine.minimumFreeSpace = 0
      policy.quarantine.minimumFreeInodes = 0
      let witness = Witness()
      let watchdog = try Watchdog(
        .init(
          places: .init(qmail: RealQmail.home, state: state), policyPath: "", policy: policy,
          version: "test"),
        sinks: [witness])
      watchdog.start {}
      // A list's burst: a sender for each member, one in 25 slow and one in 50 gone.
      for number in 0..<100 {
        let member = "m\(number).\(number % 25 == 7 ? "z" : number % 50 == 3 ? "q" : "a")"
        let domain = "members\(number % 12).example"
        try qmail.queue(
          qmail.message(
            "list", headers: ["List-Id: <list.lists.example>", "Precedence: list"]),
          from: "list-bounces+\(member)=\(domain)@lists.example", to: "\(member)@\(domain)", uid: 38
        )
      }
      #expect(
        await qmail.wait(20) { qmail.count(.success) >= 96 && qmail.count(.deferral) >= 4 })
      try await Task.sleep(for: .milliseconds(300))
      #expect(witness.events(.stormBegan).isEmpty, "\(witness.events.map(\.message))")

      let before = qmail.log.count
      let sender = "qwarden-alice@\(qmail.me)"
      var refused = 0
      for session in 0..<15 {
        let client = try SMTPSession(qmail, client: "127.66.6.6", user: "alice", mayRelay: true)
        for number in session * 10..<session * 10 + 10 {
          let result = client.offer(
            qmail.message("flood"), from: sender,
            to: [
              "n\(number).q@victims\(number % 40).example",
              "n\(number).z@victims\(number % 37).example",
              "m\(number).z@victims\(number % 31).example",
            ])
          if result.recipients == [553, 553, 553] { refused += 1 }
        }
      }
      let isBlocked = await qmail.wait(15) {
        qmail.badmailfrom.contains("\n\(sender)\n")
          && !witness.events(.quarantined).isEmpty
      }
      #expect(isBlocked, "\(witness.events.map(\.message))")
      let isSettled = await qmail.wait(20) {
        let status = await watchdog.status()
        return status.quarantined > 0 && status.quarantinePending == 0
          && (try? pending(qmail, sender)) == 0
      }
      #expect(isSettled, "\(witness.events.map(\.message))")
      #expect(witness.events(.stormBegan).count == 1, "\(witness.events.map(\.message))")
      #expect(
        witness.events(.stormBegan).first?.fields.contains(JournalField(.offender, sender)) == true)
      let next = try SMTPSession(qmail, client: "127.66.6.6", user: "alice", mayRelay: true)
      #expect(
        next.offer(qmail.message("x"), from: sender, to: ["a@one.example"]).recipients == [553])
      qmail.retryEverything()
      #expect(
        await qmail.wait(15) {
          (try? qmail.entries().allSatisfy { $0.sender != Address(sender) }) == true
        })
      await watchdog.stop()

      let own = try Badmailfrom(control: "\(RealQmail.home)/control", dialect: .stock).contents()
      #expect(own.ownLines.map(\.sender) == [Address(sender)])
      let kept = try Ledger("\(state)/ledger.sqlite").quarantine([.marked, .gone])
      #expect(kept.count == 150 - refused)
      #expect(kept.allSatisfy { $0.facts.sender == Address(sender) })
      // The list's four that wait still wait.
      #expect(try qmail.entries().filter(\.isList).count == 4)
      // Numbers are reused, so the bounces of the list's mail do not count.
      #expect(
        !qmail.logLines.dropFirst(before).contains {
          if case .bounce = $0 { true } else { false }
        })
      #expect(qmail.complaints == [])
      #expect(!qmail.sink.mail.contains { $0.sender == Array(sender.utf8) })
    }
  }

  private func pending(_ qmail: RealQmail, _ sender: String) throws -> Int {
    try qmail.entries().count { $0.sender == Address(sender) && $0.pendingCount > 0 }
  }
}
