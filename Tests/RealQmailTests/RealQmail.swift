import Files
import Fixtures
import Glibc
import Mail
import QmailControl
import QmailQueue
import Testing

/// The qmail installed at /var/qmail, lent to one test at a time and given back as it was: stopped, with an empty queue and the same badmailfrom.
///
/// Only a qmail that plainly serves nobody is used (``obstacle()``). Its control files stay as they are, and all remote mail goes to a
/// ``LoopbackSink``.
final class RealQmail {
  static let home = "/var/qmail"

  let layout: QueueLayout
  let control: ControlSnapshot
  /// The user that qmail-smtpd runs as.
  let smtpUser: SystemUser
  let sink: LoopbackSink
  /// A directory for the test's own files.
  private let folder = TemporaryFolder()
  var directory: String { folder.path }
  /// In the header of each message of the test, so that it is known when the queue is emptied.
  private let mark = "X-Qwarden-Test: \(getpid())-\(WallClock.now().nanoseconds)"
  private let badmailfromBefore: (status: FileStatus, bytes: [UInt8])?
  private var send: Child?
  private var guardian: Guardian?

  var me: String { control.me.text }
  /// What qmail-send writes, without stamps.
  var logPath: String { "\(directory)/log" }
  static let badmailfrom = "\(home)/control/badmailfrom"

  /// Starts qmail-send, hands the qmail to `body`, and puts everything back however that ends.
  static func run<T>(_ body: (RealQmail) async throws -> T) async throws -> T {
    let qmail = try RealQmail()
    defer { qmail.putBack() }
    try qmail.start()
    return try await body(qmail)
  }

  private init() throws {
    if let obstacle = Self.obstacle() { throw Unfit(why: obstacle) }
    layout = try QueueLayout.read(qmail: Self.home)
    control = try ControlDirectory(qmail: Self.home).read()
    smtpUser = try #require(SystemUser.named("qmaild"))
    badmailfromBefore =
      if let status = try? FileStatus.of(Self.badmailfrom) {
        (status, try Descriptor.open(Self.badmailfrom).readAll(limit: 1 << 24))
      } else { nil }
    sink = try LoopbackSink(port: try #require(Self.sinkPort))
  }

  // MARK: Conditions

  struct Unfit: Error, CustomStringConvertible {
    let why: String
    var description: String { "the qmail at \(RealQmail.home) cannot be used for tests: \(why)" }
  }

  /// As it was when the tests were chosen.
  static let obstacleAtStart = obstacle()

  /// What forbids a test on the qmail here; nil when it is installed, serves nobody, and cannot send mail off this machine.
  static func obstacle() -> String? {
    for program in [
      "qmail-send", "qmail-start", "qmail-queue", "qmail-smtpd", "qmail-qread", "qmail-qstat",
    ] where (try? FileStatus.of("\(home)/bin/\(program)", following: true)) == nil {
      return "there is no \(home)/bin/\(program): no qmail is installed here"
    }
    if geteuid() != 0 { return "not run as root, so qmail-start cannot be used" }
    if access(SystemUser.setpriv, X_OK) != 0 { return "there is no \(SystemUser.setpriv)" }
    if SystemUser.named("qmaild") == nil { return "there is no user qmaild" }
    if !isOnlyRun { return "another run of these tests has the qmail" }
    let layout: QueueLayout
    do { layout = try QueueLayout.read(qmail: home) } catch { return "\(error)" }
    switch QmailSend.isRunning(layout) {
    case true: return "qmail-send is running: this qmail is in use"
    case nil: return "it cannot be told whether qmail-send is running"
    case false: break
    }
    do {
      if let file = try files(layout).first {
        return "the queue is not empty (\(layout.queue)/\(file)): it may be somebody's mail"
      }
    } catch { return "\(error)" }
    guard let sinkPort else {
      return
        "control/smtproutes is not the one line :127.0.0.1:PORT, so mail might leave this machine"
    }
    if !LoopbackSink.isFree(port: sinkPort) {
      return "port \(sinkPort) of 127.0.0.1, where control/smtproutes sends all mail, is in use"
    }
    guard let control = try? ControlDirectory(qmail: home).read(), control.isLocal(control.me)
    else { return "control/me is no local domain" }
    if let domain = control.localDomains.first(where: { $0.text.hasSuffix(".example") }) {
      return "\(domain) is local, but the tests send to it as to a stranger's domain"
    }
    for catchAll in ["alias/.qmail-default", "users/cdb"]
    where (try? FileStatus.of("\(home)/\(catchAll)")) != nil {
      return "\(home)/\(catchAll) may give the tests' mail to somebody"
    }
    if let status = try? FileStatus.of(badmailfrom), !status.isRegular {
      return "control/badmailfrom is not a plain file"
    }
    return nil
  }

  /// Held until this process ends.
  private static let isOnlyRun: Bool = {
    let number = open(
      "/tmp/qwarden-real-qmail.lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
    return number >= 0 && flock(number, LOCK_EX | LOCK_NB) == 0
  }()

  /// The port to which control/smtproutes sends the mail of all domains; nil when it says anything else besides.
  private static var sinkPort: UInt16? {
    guard let bytes = try? Descriptor.open("\(home)/control/smtproutes").readAll(limit: 4096),
      let text = String(validating: bytes, as: UTF8.self)
    else { return nil }
    let lines = text.split(separator: "\n")
    guard lines.count == 1, let line = lines.first, line.hasPrefix(":127.0.0.1:") else {
      return nil
    }
    return UInt16(line.dropFirst(":127.0.0.1:".count)).flatMap { $0 >= 1024 ? $0 : nil }
  }

  /// All files of messages in the queue, as `mess/3/1234`.
  private static func files(_ layout: QueueLayout) throws -> [String] {
    func list(_ folder: String) throws -> [String] {
      let directory = try Descriptor.open("\(layout.queue)/\(folder)", .directory)
      var found: [String] = []
      for name in try directory.names() {
        if try directory.status(of: name).isDirectory {
          found += try list("\(folder)/\(name)")
        } else {
          found.append("\(folder)/\(name)")
        }
      }
      return found
    }
    return try (QueueFile.allCases.map(\.rawValue) + layout.extraChannels).flatMap(list)
  }

  // MARK: qmail-send

  /// Starts qmail-send and its three helpers, and waits until it has the queue.
  func start() throws {
    let log = try Descriptor.open(logPath, [.write, .create, .append], mode: 0o600)
    let send = try Child(
      ["\(Self.home)/bin/qmail-start", "./Mailbox"],
      environment: ["PATH": "\(Self.home)/bin:/usr/bin:/bin"], output: log.number)
    self.send = send
    guardian = try Guardian(of: send.pid)
    let end = WallClock.monotonic() + 10_000_000_000
    while QmailSend.isRunning(layout) != true {
      if WallClock.monotonic() > end { throw Unfit(why: "qmail-send does not start") }
      usleep(2000)
    }
  }

  /// Ends qmail-send in good order: it waits for the deliveries under way.
  func stop() {
    // First: the number may soon be another's.
    guardian?.dismiss()
    guardian = nil
    send?.end(within: 10)
    send = nil
    // Its helpers end with it.
    for _ in 0..<1000 where QmailSend.isRunning(layout) == true { usleep(2000) }
  }

  /// SIGALRM: qmail-send tries everything that is deferred, at once.
  func retryEverything() { if let send { kill(send.pid, SIGALRM) } }

  private func putBack() {
    stop()
    sink.close()
    do {
      try emptyQueue()
      try putBadmailfromBack()
    } catch {
      Issue.record("the qmail at \(Self.home) was not put back as it was: \(error)")
    }
    #expect(QmailSend.isRunning(layout) == false, "qmail-send must not be left running")
  }

  /// Removes the messages of the test, which are all that bear its mark (bounces do, in the copy that they hold).
  private func emptyQueue() throws {
    // The list before the looks: a message is in mess before any other file of it appears, so a stranger's is known as one.
    let files = try Self.files(layout)
    var strangers: Set<String> = []
    for file in try Self.files(layout) where file.hasPrefix("mess/") {
      let bytes = try Descriptor.open("\(layout.queue)/\(file)").readAll(limit: 1 << 24)
      if !bytes.contains(mark) { strangers.insert(Self.number(file)) }
    }
    for file in files where !strangers.contains(Self.number(file)) {
      unlink("\(layout.queue)/\(file)")
    }
    if !strangers.isEmpty {
      Issue.record("messages \(strangers.sorted()) came from elsewhere and are left in the queue")
    }
  }

  /// The number in `bounce/1234` or `bounce/qwarden.1234.1795455663`.
  private static func number(_ file: String) -> String {
    let name = file.split(separator: "/").last ?? ""
    let words = name.split(separator: ".")
    return String(words.count == 3 && words[0] == "qwarden" ? words[1] : name)
  }

  private func putBadmailfromBack() throws {
    guard let (status, bytes) = badmailfromBefore else {
      unlink(Self.badmailfrom)
      return
    }
    if self.badmailfrom == bytes { return }
    try Replacement.write(
      bytes, to: Self.badmailfrom, mode: status.permissions, owner: (status.uid, status.gid))
  }

  /// What badmailfrom holds now; empty when there is none.
  var badmailfrom: [UInt8] {
    (try? Descriptor.open(Self.badmailfrom).readAll(limit: 1 << 24)) ?? []
  }

  // MARK: Mail

  /// A message of the test.
  func message(_ subject: String, headers: [String] = [], body: String = "hello\n") -> [UInt8] {
    let head = ["From: test@\(me)", "Subject: \(subject)", mark] + headers
    return Array((head.joined(separator: "\n") + "\n\n" + body).utf8)
  }

  /// Queues a message by the project's own injector, which runs qmail-queue as this user, or by qmail-queue run as another.
  func queue(
    _ message: [UInt8], from sender: Address, to recipients: [Address], uid: UInt32 = 0
  ) throws {
    let file = try Scratch.file(message)
    if uid == 0 {
      let result = try MessageInjector(qmail: Self.home)
        .start(file, from: sender, to: recipients).commit()
      #expect(result == .queued)
      return
    }
    var envelope = [UInt8(ascii: "F")] + sender.bytes + [0]
    for recipient in recipients { envelope += [UInt8(ascii: "T")] + recipient.bytes + [0] }
    let second = try Scratch.file(envelope + [0])
    let child = try Child(
      ["\(Self.home)/bin/qmail-queue"], as: SystemUser(uid: uid, gid: uid), input: file.number,
      output: second.number)
    let status = child.status(within: 20)
    if status == nil { child.end(within: 1) }
    #expect(status == 0)
  }

  func queue(_ message: [UInt8], from sender: String, to recipients: String..., uid: UInt32 = 0)
    throws
  {
    try queue(
      message, from: Address(sender), to: recipients.map { Address($0) }, uid: uid)
  }

  // MARK: What became of it

  /// The lines that qmail-send has written.
  var log: [String] {
    let bytes = (try? Descriptor.open(logPath).readAll(limit: 1 << 26)) ?? []
    return bytes.split(separator: 10).map { String(decoding: $0, as: UTF8.self) }
  }

  var logLines: [SendLogLine] { log.map { SendLogLine($0) } }

  /// Lines that a healthy qmail-send does not write.
  var complaints: [String] {
    log.filter { $0.hasPrefix("warning:") || $0.hasPrefix("alert:") }
  }

  func count(_ outcome: SendLogLine.Outcome) -> Int {
    logLines.count { if case .outcome(_, outcome, _) = $0 { true } else { false } }
  }

  /// The messages in the queue now.
  func entries() throws -> [Entry] {
    let found = Kept<Entry>()
    try QueueScanner(layout: layout).forEachEntry { outcomes in
      for case .entry(let entry) in outcomes { found.add(entry) }
      return true
    }
    return found.values
  }

  /// The message as it stands in the queue.
  func bytes(_ id: UInt64) throws -> [UInt8] {
    try Descriptor.open(layout.path(.mess, id)).readAll(limit: 1 << 24)
  }

  /// Waits until `condition` holds, at most so many seconds.
  /// - Returns: whether it came to hold.
  func wait(_ seconds: Double, until condition: () async throws -> Bool) async rethrows -> Bool {
    let end = WallClock.monotonic() + Int64(seconds * 1e9)
    while WallClock.monotonic() < end, !Task.isCancelled {
      if try await condition() { return true }
      try? await Task.sleep(for: .milliseconds(20))
    }
    return try await condition()
  }
}
