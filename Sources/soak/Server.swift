import Files
import Glibc
import Mail
import QmailQueue
import QmailSimulator

/// The simulated mail server: qmail, what comes to it, its log, its administrator.
final class Server {
  let path: String
  let clock: SkippingClock
  let qmail: SimulatedQmail
  let account: Account
  private var exchanger = TrafficExchanger(isPrompt: true)
  private var arrivals: ArraySlice<Weather.Arrival> = []
  private let log: MultilogFile
  private(set) var isAway = false
  /// The administrator's part of badmailfrom.
  private(set) var adminLines = "# the administrator's\nspam@elsewhere.example\n@bad.example\n"

  init(_ path: String, program: String, clock: SkippingClock) throws {
    self.path = path
    self.clock = clock
    qmail = try SimulatedQmail.create(at: "\(path)/qmail", time: .virtual)
    try qmail.installQueueProgram(executable: program)
    let account = Account(try .read(qmail: "\(path)/qmail"))
    self.account = account
    let log = try MultilogFile("\(path)/log")
    self.log = log
    qmail.onLog = { time, line in
      log.add(line, at: time)
      account.note(SendLogLine(line))
    }
    qmail.onTaken = { account.note($0, $1) }
    try write(adminLines)
  }

  func expect(_ weather: Weather) {
    arrivals = ArraySlice(arrivals + weather.arrivals)
    for other in weather.exchangers { exchanger.merge(other) }
    qmail.exchanger = exchanger
  }

  /// Takes in what has come and does what is due.
  func step() {
    guard !isAway else { return }
    while let arrival = arrivals.first, arrival.at <= clock.elapsed {
      arrivals = arrivals.dropFirst()
      _ = qmail.take(arrival.injection, at: clock.now)
    }
    qmail.step(now: clock.now)
  }

  /// Seconds since the soak began.
  var nextDue: Double? {
    if isAway { return nil }
    let due = qmail.nextDue.map { clock.elapsed + $0.seconds(since: clock.now) }
    return [arrivals.first?.at, due].compactMap { $0 }.min()
  }

  /// As multilog does at night: the log begins anew, and only the last files are kept.
  func rotateLog() { log.rotate(at: clock.now) }

  /// The queue's disk is gone, and comes back.
  func takeQueueAway(_ isAway: Bool) throws {
    let (here, away) = ("\(path)/qmail/queue", "\(path)/qmail/away")
    guard rename(isAway ? here : away, isAway ? away : here) == 0 else {
      throw FileError("rename", here)
    }
    self.isAway = isAway
  }

  /// More names come and go in todo than inotify can hold while nobody reads.
  func floodTodo(_ count: Int) {
    let path = "\(path)/qmail/queue/todo/soak"
    for _ in 0..<count {
      let file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
      if file >= 0 { close(file) }
      unlink(path)
    }
  }

  // MARK: badmailfrom

  private var badmailfrom: String { "\(path)/qmail/control/badmailfrom" }

  private func write(_ text: String) throws {
    try Replacement.write(Array(text.utf8), to: badmailfrom, mode: 0o644)
  }

  /// The administrator adds a line of his own, with an editor that renames.
  func editBadmailfrom(_ line: String) throws {
    let text = Text.decode(try Descriptor.open(badmailfrom).readAll(limit: 1 << 20))
    guard text.hasPrefix(adminLines) else { return }
    try write(line + "\n" + text)
    adminLines = line + "\n" + adminLines
  }

  /// What is wrong about badmailfrom; own lines are those of `blocked`.
  func objections(blocked: Set<Address>) throws -> [String] {
    var objections: [String] = []
    let file = try Descriptor.open(badmailfrom)
    let text = Text.decode(try file.readAll(limit: 1 << 20))
    if try file.status().permissions & 0o777 != 0o644 {
      objections.append("badmailfrom: its mode changed")
    }
    let own = text.dropFirst(adminLines.count)
    if !text.hasPrefix(adminLines) {
      objections.append("badmailfrom: the administrator's lines changed: \(text.prefix(300))")
    } else if !own.isEmpty, !own.hasPrefix("# qwarden begin\n") || !own.hasSuffix("# qwarden end\n")
    {
      objections.append("badmailfrom: no section of ours: \(own.prefix(300))")
    }
    let lines = Set(
      own.split(separator: "\n").filter { !$0.hasPrefix("#") }.map { Address(String($0)) })
    if lines != blocked {
      objections.append(
        "badmailfrom has \(lines.count) lines of ours, the ledger \(blocked.count) blocks")
    }
    return objections
  }
}

/// qmail-send's log as multilog writes it.
private final class MultilogFile {
  private static let kept = 5
  private let folder: String
  private var file: Descriptor
  private var end: Int64 = 0
  private var old: [String] = []

  init(_ folder: String) throws {
    self.folder = folder
    try Folder.make(folder)
    file = try Descriptor.open("\(folder)/current", [.write, .create], mode: 0o644)
  }

  private static func label(_ time: Timestamp) -> String {
    func hex(_ value: UInt64, _ width: Int) -> String {
      let digits = String(value, radix: 16)
      return String(repeating: "0", count: width - digits.count) + digits
    }
    let (seconds, rest) = time.nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
    return "@" + hex(UInt64(seconds) + (1 << 62) + 10, 16) + hex(UInt64(rest), 8)
  }

  func add(_ line: String, at time: Timestamp) {
    let bytes = Array("\(Self.label(time)) \(line)\n".utf8)
    try? file.write(bytes, at: end)
    end += Int64(bytes.count)
  }

  func rotate(at time: Timestamp) {
    let name = "\(folder)/\(Self.label(time)).s"
    guard rename("\(folder)/current", name) == 0,
      let fresh = try? Descriptor.open("\(folder)/current", [.write, .create], mode: 0o644)
    else { return }
    file = fresh
    end = 0
    old.append(name)
    if old.count > Self.kept { unlink(old.removeFirst()) }
  }
}
