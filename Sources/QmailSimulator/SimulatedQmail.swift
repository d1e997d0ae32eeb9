import Files
import Glibc
import Mail

/// A small qmail of our own on a real directory that looks like `/var/qmail`: qmail-queue, qmail-send and the envelope part of
/// qmail-smtpd, after the sources of notqmail 1.09. What reads or edits a qmail runs on it unchanged.
///
/// It has no thread and no clock: whoever drives it passes the time in, real or accelerated. Not here: delivery processes (so
/// nothing in `/proc`), percenthack, the cleaning of files orphaned for 36 hours, and fsync inside ``inject(_:at:)`` and the bounces.
public final class SimulatedQmail {
  /// Whose time the files bear.
  public enum Time: Sendable {
    /// The kernel's: for a driver that passes the present in.
    case real
    /// What is passed in, set with futimens(2): for tests and accelerated runs. A file that others write bears the kernel's time; that
    /// matters for recipient files after ``kill()``, since qmail-send takes their mtime for the next retry.
    case virtual
  }

  /// The directory that stands for `/var/qmail`.
  public let qmail: String
  public let time: Time
  /// Answers the deliveries from now on.
  public var exchanger: any Exchanger
  /// Receives each log line of qmail-send, without stamp and newline.
  public var onLog: ((Timestamp, String) -> Void)?
  /// Receives each message that was handed in, and what was answered.
  public var onTaken: ((SimulatedInjection, SMTPOutcome) -> Void)?
  /// Receives each accepted delivery with the bytes of its message.
  public var onDelivery: ((DeliveryAttempt, [UInt8]) -> Void)?

  let tree: QueueTree
  var send: SendProcess?
  private var lastPid: Int32 = 10_000

  /// What ``create(at:control:split:todoIsSplit:intdIsSplit:time:exchanger:)`` writes unless told otherwise.
  public static let usualControl = [
    "me": "mx.test\n", "locals": "mx.test\nlocalhost\n", "rcpthosts": "mx.test\n",
  ]

  /// Opens an existing simulated qmail, reading its layout off the directory.
  public init(
    at qmail: String, time: Time = .real, exchanger: any Exchanger = SteadyExchanger()
  ) throws(FileError) {
    self.qmail = qmail
    self.time = time
    self.exchanger = exchanger
    tree = try QueueTree(reading: qmail)
  }

  /// Makes the directories and control files of a new qmail at `qmail` (whose parent must exist), and opens it.
  ///
  /// - Parameters:
  ///   - control: file names in `control/` with their content.
  ///   - split: conf-split, any number from 1; qmail's is 23.
  ///   - todoIsSplit, intdIsSplit: as big-todo builds have them.
  public static func create(
    at qmail: String, control: [String: String] = usualControl, split: Int = 23,
    todoIsSplit: Bool = false, intdIsSplit: Bool = false, time: Time = .real,
    exchanger: any Exchanger = SteadyExchanger()
  ) throws(FileError) -> SimulatedQmail {
    let tree = QueueTree(
      qmail: qmail, split: split, todoIsSplit: todoIsSplit, intdIsSplit: intdIsSplit)
    try tree.create()
    func write(_ content: String, to name: String) throws(FileError) {
      let file = try Descriptor.open(
        "\(qmail)/\(name)", [.write, .create, .truncate], mode: 0o644)
      try file.setPermissions(0o644)
      try file.write(content.utf8, at: 0)
    }
    for (name, content) in control { try write(content, to: "control/\(name)") }
    try write(serverTexts, to: "bin/qmail-smtpd")
    return try SimulatedQmail(at: qmail, time: time, exchanger: exchanger)
  }

  /// What stands for `bin/qmail-smtpd`: no program, but the texts by which a stock one is known from those with other badmailfrom rules.
  private static let serverTexts = """
    This is no program: the SMTP server of a simulated qmail is SimulatedQmail.offer. It reads badmailfrom as these texts say.
    control/badmailfrom\u{0}
    553 sorry, your envelope sender is in my badmailfrom list (#5.7.1)

    """

  /// Writes `bin/qmail-queue`, a script that runs `executable simulated-qmail-queue QMAIL`, which must call
  /// ``SimulatedQueueProgram/run(qmail:)``.
  public func installQueueProgram(executable: String) throws(FileError) {
    func quoted(_ path: String) -> String {
      "'" + path.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''")
        + "'"
    }
    let file = try Descriptor.open(
      "\(qmail)/bin/qmail-queue", [.write, .create, .truncate], mode: 0o755)
    let script = "#!/bin/sh\nexec \(quoted(executable)) simulated-qmail-queue \(quoted(qmail))\n"
    try file.write(script.utf8, at: 0)
    try file.setPermissions(0o755)
  }

  /// Queues a message as qmail-queue does, whether or not qmail-send runs.
  /// - Returns: its number.
  @discardableResult
  public func inject(_ injection: SimulatedInjection, at now: Timestamp) throws(QueueRefusal)
    -> UInt64
  {
    let host = (try? SimulatedControls.line("\(qmail)/control/me")) ?? "unknown"
    return try queue(
      injection.bytes(host: host, at: now), envelope: injection.envelope, uid: injection.source.uid,
      at: now
    ).id
  }

  func queue(_ message: [UInt8], envelope: [UInt8], uid: UInt32, at now: Timestamp)
    throws(QueueRefusal) -> (id: UInt64, pid: Int32)
  {
    lastPid = lastPid < 4_194_303 ? lastPid + 1 : 301
    var (message, envelope) = (message, envelope)
    func take(_ bytes: inout [UInt8]) -> [UInt8] {
      defer { bytes = [] }
      return bytes
    }
    let id = try SimulatedQueueProgram(tree: tree).queue(
      uid: uid, pid: lastPid, at: now, stamped: time == .virtual, durable: false,
      message: { () throws(QueueRefusal) in take(&message) },
      envelope: { () throws(QueueRefusal) in take(&envelope) })
    return (id, lastPid)
  }

  // MARK: qmail-send

  /// qmail-send runs: it holds the lock.
  public var isRunning: Bool { send != nil }

  /// Starts qmail-send: takes `lock/sendmutex`, reads the controls and the queue.
  /// - Throws: with the reason when it cannot; nothing happens when it runs already in this object.
  public func start(at now: Timestamp) throws(FileError) {
    guard send == nil else { return }
    send = try SendProcess(self, at: now)
  }

  /// Does what is due at `now`: preprocesses todo, ends and starts deliveries, sends bounces, ends messages. Nothing when stopped.
  public func step(now: Timestamp) { send?.step(self, now) }

  /// When something is due next (the past: at once), as far as qmail-send knows; new files in todo are found by any step.
  public var nextDue: Timestamp? { send?.nextDue }

  /// Runs all that is due up to and including `end`, each at its own time.
  public func advance(to end: Timestamp, from now: Timestamp) {
    var now = now
    step(now: now)
    while let due = nextDue, due <= end {
      now = max(due, now)
      step(now: now)
    }
    step(now: end)
  }

  /// SIGALRM: every deferred message is due at the next step.
  public func retryEverything(at now: Timestamp) { send?.retryEverything(at: now) }

  /// SIGTERM: deliveries in flight end now, next retry times go into the files' mtimes, the lock is given back.
  public func stop(at now: Timestamp) {
    send?.stop(self, now)
    send = nil
  }

  /// SIGKILL: gives the lock back and forgets everything that is not on disk; deliveries in flight never happened.
  public func kill() { send = nil }
}
