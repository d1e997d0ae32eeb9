import Files
import Fixtures
import Foundation
import Glibc
import Ledger
import Mail
import QmailQueue
import QmailSimulator
import Storms
import Testing

/// Commands as a shell sees them: output, complaints, exit codes.
@Suite(.enabled(if: BuiltProgram.path != nil, "the program is not built"))
struct CommandTests {
  /// A simulated qmail at rest with a state directory and a policy, and the program on it.
  private final class Server {
    private let folder = TemporaryFolder()
    let path: String
    let sim: SimulatedQmail
    var now = WallClock.now() - .seconds(1000)
    var places: [String] {
      ["--qmail", "\(path)/qmail", "--state", "\(path)/state", "--policy", "\(path)/policy.yaml"]
    }

    init() throws {
      path = folder.path
      try Folder.make("\(path)/state")
      sim = try SimulatedQmail.create(
        at: "\(path)/qmail", time: .virtual, exchanger: SteadyExchanger { _ in .deferral })
      try sim.start(at: now)
      try write(
        """
        quarantine: {minimum-free-space: 0%, minimum-free-inodes: 0%}
        blocking: {dialect: stock}
        log: {source: none}

        """, to: "policy.yaml")
    }

    func write(_ text: String, to name: String, mode: UInt32 = 0o644) throws {
      try Replacement.write(Array(text.utf8), to: "\(path)/\(name)", mode: mode)
    }

    /// Takes in a message and tries it once.
    func message() throws -> UInt64 {
      let id = try sim.inject(
        SimulatedInjection(
          sender: Address("alice@mx.test"), recipients: [Address("bob@remote.example")],
          source: .network(client: "198.18.0.9", helo: "x", user: "alice"),
          message: Array("Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\n\nhello\n".utf8)), at: now)
      sim.advance(to: now + .seconds(2), from: now)
      now = now + .seconds(2)
      return id
    }

    func run(_ words: String..., redirection: String = "", asNobody: Bool = false) throws
      -> (code: Int32, output: String, complaints: String)
    {
      try BuiltProgram.run(words + places, redirection, asNobody: asNobody)
    }
  }

  @Test("a release whose qmail-queue was killed is told as in doubt, and so is the next one")
  func doubt() throws {
    let server = try Server()
    let id = try server.message()
    let aside = try server.run("quarantine", "\(id)", "--yes")
    #expect(aside.code == 0, "\(aside)")
    try Folder.make("\(server.path)/qmail/bin")
    try server.write(
      "#!/bin/sh\ncat >/dev/null; cat <&1 >/dev/null; kill -9 $$\n", to: "qmail/bin/qmail-queue",
      mode: 0o755)
    let release = try server.run("release", "\(id)", "--yes")
    #expect(release.code == 75, "\(release)")
    #expect(release.complaints.contains("message \(id): a release was cut off"))
    #expect(release.complaints.contains("release \(id) --in-doubt"))
    let again = try server.run("release", "\(id)", "--yes")
    #expect(again.code == 1)
    #expect(again.complaints.contains("message \(id): a release was cut off"), "\(again)")
  }

  @Test(
    "a policy that was named and is not there stops what changes anything, and is told with its path"
  )
  func missingPolicy() throws {
    let server = try Server()
    let id = try server.message()
    try FileManager.default.removeItem(atPath: "\(server.path)/policy.yaml")
    for words in [["quarantine", "\(id)", "--yes"], ["block", "spam@bad.example"]] {
      let refused = try BuiltProgram.run(words + server.places)
      #expect(refused.code == 78 && refused.complaints.contains("policy.yaml"), "\(refused)")
    }
    #expect(!FileManager.default.fileExists(atPath: "\(server.path)/state/ledger.sqlite"))
  }

  @Test("a copy that is damaged or gone is told of, and keeps nobody from the others")
  func lostCopies() throws {
    let server = try Server()
    let ids = try (0..<3).map { _ in try server.message() }
    #expect(try server.run("quarantine", "--all", "--yes").code == 0)
    let store = "\(server.path)/state/quarantine"
    let names = try FileManager.default.contentsOfDirectory(atPath: store)
    func copy(_ id: UInt64) throws -> String {
      try #require(names.first { $0.hasPrefix("\(id).") && $0.hasSuffix(".mail") })
    }
    unlink("\(store)/\(try copy(ids[0]))")
    try Replacement.write(
      Array("garbage".utf8), to: "\(store)/\(try copy(ids[1]))", mode: 0o600)
    for words in [
      ["--recipient", "bob@remote.example"], ["--subject", "Grüße"], ["--headers"],
      ["--count-by", "recipient-domain"],
    ] {
      let list = try BuiltProgram.run(["quarantined"] + words + server.places)
      #expect(list.code == 65, "\(list)")
      for id in ids[..<2] { #expect(list.complaints.contains("message \(id): "), "\(list)") }
      #expect(list.complaints.split(separator: "\n").count == 2, "\(list)")
      #expect(list.output.contains("\(ids[2])") || list.output.contains("remote.example"))
    }
    let export = try server.run("quarantined", "--export", "mbox:\(server.path)/out")
    #expect(export.code == 65 && export.output == "exported 1 message\n", "\(export)")
    server.sim.advance(to: server.now + .seconds(90_000), from: server.now)
    let show = try server.run("show", "\(ids[0])")
    #expect(show.code == 65 && show.complaints.contains("its copy is not there"), "\(show)")
    try Folder.make("\(server.path)/qmail/bin")
    try server.write(
      "#!/bin/sh\ncat >/dev/null; cat <&1 >/dev/null\n", to: "qmail/bin/qmail-queue", mode: 0o755)
    let release = try server.run("release", "--recipient", "bob@remote.example")
    #expect(release.code == 65, "\(release)")
    #expect(release.output.contains("1 message, "))
    #expect(release.output.contains("1 recipient still owed the mail"), "\(release)")
    #expect(release.output.hasSuffix("released 1 of 1 message to 1 recipient\n"), "\(release)")
    let rest = try server.run("release", "--all")
    #expect(rest.code == 65, "\(rest)")
    #expect(rest.complaints.hasSuffix("still in quarantine: 2 messages\n"), "\(rest)")
  }

  @Test("what was set aside by hand and is of an incident is found and given back by its number")
  func byHand() throws {
    let server = try Server()
    let began = server.now - .seconds(10)
    let id = try server.message()
    let ledger = try Ledger("\(server.path)/state/ledger.sqlite")
    for (number, sender) in [(1, "alice@mx.test"), (2, "carol@mx.test")] {
      try ledger.record(
        Storm(
          incident: number, kind: .relaySender, began: began, lastSeen: server.now,
          offenders: [.sender(Address(sender))]))
    }
    #expect(try server.run("quarantine", "--incident", "1", "--yes").code == 0)
    #expect(try server.run("quarantined", "--incident", "1", "--ids").output == "\(id)\n")
    let release = try server.run("release", "--incident", "1", "--dry-run")
    #expect(release.code == 0 && release.output.hasPrefix("1 message, "), "\(release)")
    #expect(try server.run("quarantined", "--incident", "2", "--ids").code == 1)
    #expect(try server.run("quarantined", "--incident", "3", "--ids").code == 1)
  }

  @Test("status is the daemon's own word, and what it wrote last where none answers")
  func status() throws {
    let server = try Server()
    #expect(try server.run("status").code == 69)
    #expect(try server.run("run", "--once").code == 0)
    let path = "\(server.path)/state/status.json"
    func change(_ old: String, _ new: String) throws {
      let text = try String(contentsOfFile: path, encoding: .utf8)
      let expression = try Regex(old)
      #expect(text.contains(expression))
      try server.write(text.replacing(expression, with: new), to: "state/status.json", mode: 0o600)
    }
    // After a restart of the machine its number is another program's.
    try change("\"pid\":[0-9]+", "\"pid\":\(getpid())")
    let gone = try server.run("status")
    #expect(gone.code == 69 && gone.complaints.contains("is not running"), "\(gone)")
    // It was up as long as it wrote, not until today.
    try change("\"started\":[0-9.]+", "\"started\":1000")
    try change("\"written\":[0-9.]+", "\"written\":1600")
    try FileManager.default.setAttributes(
      [.modificationDate: Date(timeIntervalSince1970: 1600)], ofItemAtPath: path)
    #expect(try server.run("status").output.contains(", up 10m, "))

    let daemon = Process()
    daemon.executableURL = URL(fileURLWithPath: BuiltProgram.path ?? "")
    daemon.arguments = ["run"] + server.places
    daemon.standardOutput = FileHandle.nullDevice
    daemon.standardError = FileHandle.nullDevice
    try daemon.run()
    defer { _ = end(daemon) }
    var there = try server.run("status")
    for _ in 0..<100 where there.code != 0 {
      usleep(100_000)
      there = try server.run("status")
    }
    #expect(there.code == 0, "\(there)")
    // On a full disk the file says how it stood once.
    try change("\"mode\":\"observe\"", "\"mode\":\"stale\"")
    let live = try server.run("status")
    #expect(live.code == 0 && live.output.contains(" observe mode, "), "\(live)")
  }

  @Test("a daemon that is told to end while it starts does so")
  func earlyEnd() throws {
    let server = try Server()
    // Its recovery waits for the hands a second long.
    let hands = try FileLock.take("\(server.path)/state/lock")
    let daemon = Process()
    let output = Pipe()
    daemon.executableURL = URL(fileURLWithPath: BuiltProgram.path ?? "")
    daemon.arguments = ["run"] + server.places
    daemon.standardOutput = output
    daemon.standardError = FileHandle.nullDevice
    try daemon.run()
    let started = String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
    #expect(started.contains("started: watching"))
    usleep(200_000)
    let isOver = end(daemon)
    #expect(isOver)
    if isOver { #expect(daemon.terminationReason == .exit && daemon.terminationStatus == 0) }
    _ = consume hands
  }

  /// - Returns: whether it ended when told to.
  private func end(_ daemon: Process) -> Bool {
    daemon.terminate()
    for _ in 0..<100 where daemon.isRunning { usleep(100_000) }
    if daemon.isRunning { kill(daemon.processIdentifier, SIGKILL) }
    return !daemon.isRunning
  }

  @Test("an order that was stopped tells once of what it did not touch")
  func untouched() throws {
    let server = try Server()
    for _ in 0..<3 { _ = try server.message() }
    try server.write(
      "quarantine: {minimum-free-space: 100%}\nlog: {source: none}\n", to: "policy.yaml")
    let stopped = try server.run("quarantine", "--all", "--yes")
    #expect(stopped.code == 74 && stopped.complaints.contains("minimum-free-space"), "\(stopped)")
    #expect(
      stopped.output.hasSuffix("\n3 messages not touched\nset aside 0 of 3 messages\n"),
      "\(stopped)")
  }

  @Test("what is taken up from the quarantine directory is not told as somebody's order")
  func takenUp() throws {
    let server = try Server()
    _ = try server.message()
    #expect(try server.run("quarantine", "--all", "--yes").code == 0)
    for suffix in ["", "-wal", "-shm"] { unlink("\(server.path)/state/ledger.sqlite\(suffix)") }
    let start = try server.run("run", "--once")
    #expect(
      start.output.contains("1 message is set aside: found in the quarantine directory"),
      "\(start)")
  }

  @Test("--html replaces a regular file and nothing else; - is standard output")
  func page() throws {
    let server = try Server()
    let moment = Timestamp(seconds: 1_796_000_000)
    try Ledger("\(server.path)/state/ledger.sqlite").record(
      Storm(
        incident: 1, kind: .relaySender, began: moment, lastSeen: moment,
        offenders: [.sender(Address("alice@mx.test"))]))
    try #require(mkfifo("\(server.path)/fifo", 0o600) == 0)
    try server.write("kept", to: "target")
    try #require(symlink("target", "\(server.path)/link") == 0)
    for (name, why) in [("fifo", "no regular file"), ("link", "symbolic link")] {
      let before = try FileStatus.of("\(server.path)/\(name)")
      let refused = try server.run("incidents", "1", "--html", "\(server.path)/\(name)")
      #expect(refused.code == 73 && refused.complaints.contains(why), "\(refused)")
      #expect(try FileStatus.of("\(server.path)/\(name)").isSameFile(as: before))
    }
    let target = "\(server.path)/target"
    #expect(try server.run("incidents", "1", "--html", target).code == 0)
    let page = try server.run("incidents", "1", "--html", "-")
    #expect(page.code == 0 && page.output.hasPrefix("<!"))
    #expect(try String(contentsOfFile: target, encoding: .utf8).hasPrefix("<!"))
  }

  @Test("show tells what had failed before a message was set aside")
  func failures() throws {
    let server = try Server()
    let id = try server.message()
    #expect(try server.run("quarantine", "\(id)", "--yes").code == 0)
    server.sim.advance(to: server.now + .seconds(3600), from: server.now)
    let store = "\(server.path)/state/quarantine"
    let names = try FileManager.default.contentsOfDirectory(atPath: store)
    let copy = try #require(names.first { $0.hasSuffix(".mail") })
    try Replacement.write(
      Array("<no@remote.example>:\n\u{1B}[2Jno such user\n\n".utf8),
      to: "\(store)/\(copy.dropLast(4))bounce", mode: 0o600)
    let shown = try server.run("show", "\(id)").output
    #expect(
      shown.contains(
        "--- failed before it was set aside\n<no@remote.example>:\n\\x1B[2Jno such user\n"),
      "\(shown)")
    let object = try server.run("show", "\(id)", "--json").output
    #expect(object.contains("\"failures\":\"<no@remote.example>:\\n\\u001b[2J"), "\(object)")
  }

  @Test("several messages shown stand apart, those in quarantine too, but not as JSON or bytes")
  func apart() throws {
    let server = try Server()
    let (first, second) = (try server.message(), try server.message())
    #expect(try server.run("quarantine", "\(second)", "--yes").code == 0)
    func show(_ form: String...) throws -> String {
      let shown = try BuiltProgram.run(["show", "\(first)", "\(second)"] + form + server.places)
      #expect(shown.code == 0, "\(shown)")
      return shown.output
    }
    #expect(try show().contains("\nhello\n\nMessage \(second)\n"))
    #expect(try show("--headers").components(separatedBy: "\n\nReceived: ").count == 2)
    #expect(try show("--json").split(separator: "\n", omittingEmptySubsequences: false).count == 3)
    #expect(try show("--raw").components(separatedBy: "\nhello\nReceived: ").count == 2)
  }

  @Test("quarantined --json --headers has one subject, decoded")
  func subject() throws {
    let server = try Server()
    let id = try server.message()
    #expect(try server.run("quarantine", "\(id)", "--yes").code == 0)
    let line = try server.run("quarantined", "--json", "--headers").output
    #expect(line.components(separatedBy: "\"subject\":").count == 2, "\(line)")
    #expect(line.contains("\"subject\":\"Grüße\""), "\(line)")
    #expect(try server.run("quarantined", "--json").output.contains("\"subject\":\"=?utf-8?Q?"))
  }

  @Test("check-policy --json prints an object for each error, and one for a good policy")
  func policy() throws {
    let server = try Server()
    let good = try server.run("check-policy", "--json")
    #expect(good.code == 0)
    #expect(
      good.output == "{\"path\":\"\(server.path)/policy.yaml\",\"mode\":\"observe\"}\n", "\(good)")
    try server.write("mode: enforce\nblokcing: {}\nhistory: {keep: soon}\n", to: "policy.yaml")
    let bad = try server.run("check-policy", "--json")
    #expect(bad.code == 78 && bad.complaints.isEmpty, "\(bad)")
    let lines = try bad.output.split(separator: "\n").map {
      try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
    }
    #expect(lines.map { $0["line"] as? Int } == [2, 3])
    #expect(lines.map { $0["column"] as? Int } == [1, 17])
    #expect((lines.first?["message"] as? String)?.contains("blocking") == true)
    let missing = try server.run("check-policy", "\(server.path)/none.yaml", "--json")
    #expect(missing.code == 78 && missing.output.contains("\"line\":null"), "\(missing)")
  }

  @Test("a block for no time is refused")
  func noTime() throws {
    let server = try Server()
    let refused = try server.run("block", "joe@foreign.example", "--for", "0h")
    #expect(refused.code == 64 && refused.complaints.contains("--for 0h"), "\(refused)")
  }

  @Test("a closed standard error hides no exit code, and a closed standard output no lost report")
  func closedStreams() throws {
    let server = try Server()
    _ = try Ledger("\(server.path)/state/ledger.sqlite")
    #expect(try server.run("incidents", redirection: "2>&-").code == 1)
    let lost = try server.run("run", "--once", "--json", redirection: ">&-")
    #expect(lost.code == 74 && lost.complaints.contains("cannot write the output"), "\(lost)")
  }

  @Test("stat --all leaves out what cannot be read, says so and fails")
  func damagedRecipients() throws {
    let server = try Server()
    let (id, other) = (try server.message(), try server.message())
    let path = try QueueLayout.read(qmail: "\(server.path)/qmail").path(.remote, id)
    unlink(path)
    try #require(symlink("nowhere", path) == 0)
    let stat = try server.run("stat", "--all")
    #expect(stat.code == 74)
    #expect(stat.output.contains("remote: 1\nbouncing: 0\nfinished: 0\n"), "\(stat)")
    #expect(stat.complaints.contains("message \(id): its remote file is a symbolic link"))
    #expect(!stat.complaints.contains("message \(other)"))
  }

  @Test(
    "who may not read a message is told and gets 77, from every command that reads the queue",
    .enabled(if: BuiltProgram.canBeNobody, "needs root and setpriv"))
  func forbidden() throws {
    let server = try Server()
    let id = try server.message()
    for name in try FileManager.default.subpathsOfDirectory(atPath: server.path) + [""] {
      chmod("\(server.path)/\(name)", 0o755)
    }
    #expect(try server.run("list", "--count", asNobody: true).output == "1\n")
    let layout = try QueueLayout.read(qmail: "\(server.path)/qmail")
    for kind in [QueueFile.info, .remote] {
      try #require(chmod(layout.path(kind, id), 0o600) == 0)
    }
    for words in [
      ["show", "\(id)"], ["list", "\(id)"], ["list"], ["list", "--count"], ["stat", "--all"],
      ["list", "--format", "qread"],
    ] {
      let refused = try BuiltProgram.run(words + server.places, asNobody: true)
      #expect(refused.code == 77, "\(words) \(refused)")
      #expect(!refused.complaints.isEmpty, "\(words)")
    }
    let qread = try server.run("list", "--format", "qread", asNobody: true)
    #expect(qread.output == "warning: trouble with #\(id): Permission denied\n", "\(qread)")
  }
}
