import Files
import Foundation
import Mail
import QmailQueue
import QmailSimulator
import Testing

/// One message of the script that both qmails are given.
private struct ScriptedMessage {
  var subject: String
  var sender: Address
  var recipients: [Address]
  var source = Source.uid(33)

  init(_ subject: String, from sender: String, to recipients: String..., source: Source = .uid(33))
  {
    self.subject = subject
    self.sender = Address(sender)
    self.recipients = recipients.map { Address($0) }
    self.source = source
  }
}

extension RealQmailTests {
  @Test(
    "the simulated qmail leaves the same files, bytes and modes, and writes the same log as the real one",
    .timeLimit(.minutes(1)))
  func simulator() async throws {
    try await RealQmail.run { qmail in
      let (script, later) = Self.script(me: qmail.me)
      for message in script { try Self.queue(message, in: qmail) }
      // Nine recipients wait, and so does the bounce; three fail, two accept.
      #expect(
        await qmail.wait(10) {
          qmail.count(.deferral) == 10 && qmail.count(.failure) == 3 && qmail.count(.success) == 2
            && qmail.log.last?.hasPrefix("status: local 0/") == true
        }, "\(qmail.log.suffix(5))")
      #expect(await qmail.wait(5) { (try? qmail.entries().count) == script.count - 1 })
      qmail.stop()
      for message in later { try Self.queue(message, in: qmail) }
      let real = try Snapshot(queue: qmail.layout, log: qmail.log, networkUser: qmail.smtpUser.uid)

      let simulated = try SimulatedQmail.create(
        at: "\(qmail.directory)/qmail", control: try Self.control(of: qmail),
        split: qmail.layout.split, exchanger: SteadyLetters())
      var log: [String] = []
      simulated.onLog = { log.append($1) }
      try simulated.start(at: WallClock.now())
      for message in script {
        try simulated.inject(Self.injection(message, in: qmail), at: WallClock.now())
        simulated.step(now: WallClock.now())
      }
      let end = WallClock.now() + .seconds(2)
      simulated.advance(to: end, from: WallClock.now())
      simulated.stop(at: end)
      for message in later {
        try simulated.inject(Self.injection(message, in: qmail), at: WallClock.now())
      }
      let ours = try Snapshot(
        queue: try QueueLayout.read(qmail: simulated.qmail), log: log,
        networkUser: SimulatedUser.qmaild)

      #expect(Set(ours.files.keys) == Set(real.files.keys))
      for (name, file) in real.files {
        #expect(ours.files[name] == file, "\(name)")
      }
      #expect(Set(ours.lives.keys) == Set(real.lives.keys))
      for (message, life) in real.lives {
        #expect(ours.lives[message] == life, "\(message)")
      }
      #expect(ours.statusForms == real.statusForms)
      #expect(real.files.count > 30)
      #expect(real.lives.count == script.count + 1)
    }
  }

  private static func script(me: String) -> (running: [ScriptedMessage], stopped: [ScriptedMessage])
  {
    let network = Source.network(client: "127.66.6.6", helo: "client.example", user: "alice")
    var odd = ScriptedMessage("odd", from: "", to: "")
    odd.sender = Address(Array("odd \u{1}\t".utf8) + [0x7F, 0xE9] + Array("@sender.example".utf8))
    odd.recipients = [Address([0x20, 0xFF, 0x22, 0x7A] + Array("@odd.example".utf8))]
    return (
      [
        ScriptedMessage("waits", from: "waits@sender.example", to: "late.z@one.example"),
        ScriptedMessage(
          "mixed", from: "mixed@sender.example", to: "late.z@one.example", "no.q@two.example",
          "yes.a@three.example", "late2.z@four.example"),
        ScriptedMessage(
          "client", from: "client@sender.example", to: "Late.z@One.Example", "late.z@one.example",
          source: network),
        ScriptedMessage("accepted", from: "accepted@sender.example", to: "yes.a@one.example"),
        ScriptedMessage("bounced", from: "back.z@sender.example", to: "no.q@one.example"),
        ScriptedMessage("null", from: "", to: "late.z@one.example"),
        ScriptedMessage(
          "nobody", from: "nobody@sender.example", to: "qwarden-nobody@\(me)",
          "late.z@one.example"),
        ScriptedMessage("list", from: "list-@lists.example-@[]", to: "late.z@one.example"),
        odd,
      ],
      [
        ScriptedMessage("new", from: "new@sender.example", to: "a@one.example", "b@\(me)"),
        ScriptedMessage("new by SMTP", from: "", to: "c@one.example", source: network),
      ]
    )
  }

  private static func text(_ message: ScriptedMessage, in qmail: RealQmail) -> [UInt8] {
    qmail.message(message.subject, body: "one\n.two\n\ncaf\u{E9}\n")
  }

  private static func queue(_ message: ScriptedMessage, in qmail: RealQmail) throws {
    let text = text(message, in: qmail)
    guard case .network(let client, _, let user) = message.source else {
      try qmail.queue(text, from: message.sender, to: message.recipients, uid: 33)
      return
    }
    let session = try SMTPSession(qmail, client: client, user: user, mayRelay: true)
    let result = session.offer(
      text, from: "\(message.sender)", to: message.recipients.map { "\($0)" })
    #expect(result.message == 250)
  }

  private static func injection(_ message: ScriptedMessage, in qmail: RealQmail)
    -> SimulatedInjection
  {
    SimulatedInjection(
      sender: message.sender, recipients: message.recipients, source: message.source,
      message: text(message, in: qmail))
  }

  /// The control files that qmail-send reads, as the real qmail has them.
  private static func control(of qmail: RealQmail) throws -> [String: String] {
    var files: [String: String] = [:]
    for name in [
      "me", "locals", "rcpthosts", "virtualdomains", "envnoathost", "bouncefrom", "bouncehost",
      "doublebounceto", "doublebouncehost", "concurrencylocal", "concurrencyremote",
      "queuelifetime",
    ] {
      guard let file = try? Descriptor.open("\(RealQmail.home)/control/\(name)", [.following])
      else { continue }
      files[name] = String(decoding: try file.readAll(limit: 1 << 20), as: UTF8.self)
    }
    return files
  }
}

/// Answers as ``LoopbackSink`` does, and as a server without these local users.
private struct SteadyLetters: Exchanger {
  func answer(to attempt: DeliveryAttempt) -> DeliveryAnswer {
    let outcome: SendLogLine.Outcome =
      switch (attempt.channel, attempt.recipient.localPart.last) {
      case (.local, _), (_, UInt8(ascii: "q")): .failure
      case (_, UInt8(ascii: "z")): .deferral
      default: .success
      }
    return DeliveryAnswer(outcome, to: attempt, host: "127.0.0.1")
  }
}

/// What a qmail has left, without what differs from run to run: queue and process numbers, dates, qmail's own uids.
private struct Snapshot {
  struct File: Equatable {
    var text: String
    var mode: String
  }

  /// By kind and the message's subject, as `info of waits`.
  var files: [String: File] = [:]
  /// What the log says of each message, by sender and uid: its lines, those of deliveries in an order of their own (they overlap).
  var lives: [String: [String]] = [:]
  /// The status lines with each number as `N`.
  var statusForms: Set<String> = []

  init(queue layout: QueueLayout, log: [String], networkUser: UInt32) throws {
    for part in 0..<layout.split {
      for name in try Descriptor.open("\(layout.queue)/mess/\(part)", .directory).names() {
        let id = try #require(UInt64(name))
        let message = try Descriptor.open(layout.path(.mess, id)).readAll(limit: 1 << 20)
        let subject = Text.decode(
          message.split(separator: 10).first { $0.starts(with: "Subject: ".utf8) }?.dropFirst(9)
            ?? [])
        let isBounce = message.contains("Hi. This is the qmail-send program")
        for kind in QueueFile.allCases {
          guard let file = try? Descriptor.open(layout.path(kind, id)) else { continue }
          var text = Text.decode(try file.readAll(limit: 1 << 20))
          text = Self.plain(text, kind, networkUser: networkUser)
          files["\(kind.rawValue) of \(isBounce ? "bounce of " : "")\(subject)"] = File(
            text: text, mode: String(try file.status().mode, radix: 8))
        }
      }
    }
    read(log, networkUser: networkUser)
  }

  private static func plain(_ text: String, _ kind: QueueFile, networkUser: UInt32) -> String {
    var text = text
    switch kind {
    case .mess:
      text.replace(/qmail [0-9]+ invoked/, with: "qmail P invoked")
      text.replace(/[0-9]+ [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} -0000/, with: "DATE")
    case .todo, .intd:
      text.replace(/\0p[0-9]+\0/, with: "\0pP\0")
      text.replace("u\(networkUser)\0", with: "uNETWORK\0")
    default: break
    }
    return text
  }

  private mutating func read(_ log: [String], networkUser: UInt32) {
    var numbers: [UInt64: String] = [:]
    var steps: [String: [String]] = [:]
    var deliveries: [String: [String]] = [:]
    var inFlight: [UInt64: String] = [:]
    for line in log {
      switch SendLogLine(line) {
      case .new(let id): numbers[id] = nil
      case .info(let id, _, let sender, _, let uid):
        let user =
          switch uid {
          case 33: "33"
          case networkUser: "network"
          default: "bounce"
          }
        numbers[id] = "<\(sender)> by \(user)"
        steps[numbers[id] ?? "", default: []] += ["new", "info"]
      case .starting(let delivery, let id, let channel, let recipient):
        inFlight[delivery] = numbers[id]
        deliveries[numbers[id] ?? "?", default: []].append("to \(channel) \(recipient)")
      case .outcome(let delivery, let outcome, let text):
        deliveries[inFlight[delivery] ?? "?", default: []].append("\(outcome): \(text)")
      case .bounce(let id, _): steps[numbers[id] ?? "?", default: []].append("bounce")
      case .end(let id): steps[numbers[id] ?? "?", default: []].append("end")
      case .status(let text):
        statusForms.insert(text.replacing(/[0-9]+/, with: "N"))
      case .other(let text): steps["other", default: []].append(text)
      }
    }
    for key in Set(steps.keys).union(deliveries.keys) {
      lives[key] = (steps[key] ?? []) + (deliveries[key] ?? []).sorted()
    }
  }
}
