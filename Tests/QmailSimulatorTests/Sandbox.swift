import Files
import Fixtures
import Glibc
import Mail
import QmailQueue

@testable import QmailSimulator

/// A simulated qmail in a directory of its own, with its log, removed at the end.
final class Sandbox {
  private let folder = TemporaryFolder()
  let directory: String
  let qmail: SimulatedQmail
  private(set) var log: [String] = []
  private(set) var times: [Timestamp] = []
  private(set) var delivered: [(attempt: DeliveryAttempt, message: [UInt8])] = []
  /// The birthday of the test's mail.
  let zero = Timestamp(seconds: 1_795_455_663)

  init(
    control: [String: String] = [:], split: Int = 23, todoIsSplit: Bool = false,
    exchanger: any Exchanger = SteadyExchanger(), started: Bool = true
  ) throws {
    directory = folder.path
    qmail = try SimulatedQmail.create(
      at: directory + "/qmail", control: SimulatedQmail.usualControl.merging(control) { $1 },
      split: split, todoIsSplit: todoIsSplit, intdIsSplit: todoIsSplit, time: .virtual,
      exchanger: exchanger)
    qmail.onLog = { [unowned self] time, line in
      log.append(line)
      times.append(time)
    }
    qmail.onDelivery = { [unowned self] in delivered.append(($0, $1)) }
    if started { try qmail.start(at: zero) }
  }

  /// Injects and steps once at the same moment.
  @discardableResult
  func send(
    _ sender: String, to recipients: String..., via source: Source = .uid(1000),
    text: String = "Subject: x\n\nhello\n", after seconds: Double = 0
  ) throws -> UInt64 {
    let now = zero + .seconds(seconds)
    let id = try qmail.inject(
      SimulatedInjection(
        sender: Address(sender), recipients: recipients.map { Address($0) }, source: source,
        message: Array(text.utf8)), at: now)
    qmail.step(now: now)
    return id
  }

  func advance(from: Double = 0, to: Double) {
    qmail.advance(to: zero + .seconds(to), from: zero + .seconds(from))
  }

  func path(_ kind: QueueFile, _ id: UInt64) -> String { qmail.tree.path(kind, id) }

  func text(_ kind: QueueFile, _ id: UInt64) -> String? {
    (try? Descriptor.open(path(kind, id)).readAll(limit: 1 << 24)).map {
      String(decoding: $0, as: UTF8.self)
    }
  }

  /// All files of the queue but those in `lock`, as `info/3/1234`.
  var files: [String] { listTree("\(directory)/qmail/queue").filter { !$0.hasPrefix("lock/") } }

  /// What a stranger does to retire a message: `T` becomes `D`, in place.
  func mark(_ kind: QueueFile, _ id: UInt64) throws {
    let file = try Descriptor.open(path(kind, id), .readWrite)
    var start = true
    for (offset, byte) in try file.readAll(limit: 1 << 20).enumerated() {
      if start && byte == UInt8(ascii: "T") { try file.write("D".utf8, at: Int64(offset)) }
      start = byte == 0
    }
    // The kernel has given the file the real time, which is not this qmail's.
    QueueTree.stamp(file, zero)
  }

  /// Seconds since `zero` of the deliveries begun for this recipient.
  func attempts(_ recipient: String) -> [Int] {
    zip(log, times).filter {
      $0.0.hasPrefix("starting delivery ") && $0.0.hasSuffix(" \(recipient)")
    }.map { Int($0.1.seconds(since: zero)) }
  }
}

/// Names of the files below a directory, sorted.
func listTree(_ path: String) -> [String] {
  guard let directory = try? Descriptor.open(path, .directory) else { return [] }
  var found: [String] = []
  for name in (try? directory.names()) ?? [] {
    if (try? directory.status(of: name))?.isDirectory == true {
      found += listTree("\(path)/\(name)").map { "\(name)/\($0)" }
    } else {
      found.append(name)
    }
  }
  return found.sorted()
}

/// Answers by the last letter of the recipient's local part: q fails, z defers, others are accepted.
var byLastLetter: SteadyExchanger {
  SteadyExchanger { attempt in
    switch attempt.recipient.localPart.last {
    case UInt8(ascii: "q"): .failure
    case UInt8(ascii: "z"): .deferral
    default: .success
    }
  }
}
