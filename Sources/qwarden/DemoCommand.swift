import ArgumentParser
import Dispatch
import Files
import Foundation
import Glibc
import Ledger
import Mail
import Policy
import QmailControl
import QmailQueue
import QmailSimulator
import Response
import Storms
import Synchronization
import Systemd
import Watchdog

struct Demo: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "demo",
    abstract: "Watch qwarden deal with two storms on a simulated qmail, in under a minute.",
    discussion: """
      A small qmail of qwarden's own is set up in a temporary directory and flooded; the real daemon watches it in enforce mode. Nothing \
      else on the machine is touched, and the directory is removed at the end.
      """)

  @Flag(help: "Keep the directory, to look around in it.")
  var keep = false

  func run() throws {
    let folder = try DemoFolder()
    let story = DemoStory(folder: folder, keep: keep)
    Task {
      do {
        try await story.play()
        Glibc.exit(0)
      } catch {
        Output.complain("\(error)")
        Glibc.exit(Exit.inputOutput)
      }
    }
    dispatchMain()
  }
}

/// Stands in for qmail-queue in the demo's qmail: reads a message and an envelope as qmail-queue does.
struct SimulatedQmailQueue: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "simulated-qmail-queue", shouldDisplay: false)

  @Argument var qmail: String

  func run() throws { throw ExitCode(SimulatedQueueProgram.run(qmail: qmail)) }
}

/// A temporary directory with a qmail and a state directory in it.
struct DemoFolder {
  let path: String
  var qmail: String { "\(path)/qmail" }
  var state: String { "\(path)/state" }

  init() throws { path = try Folder.makeTemporary("qwarden-demo") }

  /// Removes the directory with everything in it.
  func remove() { try? FileManager.default.removeItem(atPath: path) }
}

/// What the visitor sees: the story's own lines and qwarden's events, each with the seconds since the beginning.
struct DemoStory: Sendable {
  private static let floodBegins = 5
  private static let backscatterBegins = 20
  private static let end = 38
  let folder: DemoFolder
  let keep: Bool

  func play() async throws {
    let qmail = try SimulatedQmail.create(at: folder.qmail)
    try qmail.installQueueProgram(executable: "/proc/\(getpid())/exe")
    try Replacement.write(
      Array("# written by the administrator\nspammer@elsewhere.example\n".utf8),
      to: "\(folder.qmail)/control/badmailfrom", mode: 0o644)
    let traffic =
      Traffic(.ordinary, messages: 120, perSecond: 3, seed: 7)
      + Traffic(
        .hijackedAccount, messages: 240, perSecond: 30, start: .seconds(Self.floodBegins), seed: 8)
      + Traffic(
        .backscatterDeferred, messages: 160, perSecond: 20, start: .seconds(Self.backscatterBegins),
        seed: 9)
    var policy = Policy()
    // The simulated qmail keeps no log, and this machine's is another's.
    policy.log.source = .none
    policy.mode = .enforce
    policy.polling.normal = .seconds(1)
    policy.detection.pause = .seconds(6)

    let voice = DemoVoice()
    voice.say(
      "A simulated qmail in \(folder.path); the policy is the shipped one, in enforce mode.")
    voice.quote("control/badmailfrom before", badmailfrom())
    let watchdog = try Watchdog(
      Watchdog.Configuration(
        places: Responder.Places(qmail: folder.qmail, state: folder.state), policyPath: "",
        policy: policy, version: Qwarden.version),
      sinks: [voice])
    let driver = TrafficDriver(qmail, traffic: traffic, clock: WallClock.now)
    let driving = Task { try await driver.run() }
    try await Task.sleep(for: .milliseconds(200))
    watchdog.start {}

    voice.say("Ordinary mail: 40 users, 3 messages a second.")
    try await pass(to: Self.floodBegins, watchdog, voice)
    voice.say("alice's password is stolen: 240 messages, 30 a second, to strangers.")
    try await pass(to: Self.floodBegins + 9, watchdog, voice)
    let refused = await driver.report.refused
    voice.say("\(refused) messages of the flood were refused at the door after that.")
    if let injection = traffic.arrivals.first(where: { $0.scenario == .hijackedAccount })?
      .injection,
      let reply = await driver.offer(injection).replies.first
    {
      voice.say("The next one of alice's: RCPT TO answered with \"\(reply)\"")
    }
    try await pass(to: Self.backscatterBegins, watchdog, voice)
    voice.say("Backscatter: 160 bounces from 80 hosts for mail we never sent.")
    try await pass(to: Self.end, watchdog, voice)
    await driver.retryEverything()
    try await pass(to: Self.end + 1, watchdog, voice)

    voice.say("The storms are over. Status, as 'qwarden status' shows it:")
    Output.line("")
    Status.show(await watchdog.status(), json: false)
    Output.line("")
    voice.quote("control/badmailfrom after", badmailfrom())
    try await release(voice)
    await watchdog.stop()
    driving.cancel()
    try await driving.value
    if keep {
      voice.say(
        "Look around: qwarden incidents --state \(folder.state); qwarden list --qmail \(folder.qmail)"
      )
    } else {
      folder.remove()
      voice.say(
        "That was all; \(folder.path) is removed. 'make install' puts it on your server, in observe mode."
      )
    }
  }

  private func badmailfrom() -> String {
    let bytes = try? Descriptor.open("\(folder.qmail)/control/badmailfrom").readAll(limit: 1 << 20)
    return String(decoding: bytes ?? [], as: UTF8.self)
  }

  /// Waits until so many seconds have passed, and shows the queue's depth every other second.
  private func pass(to second: Int, _ watchdog: Watchdog, _ voice: DemoVoice) async throws {
    while voice.seconds < Double(second) {
      let left = Double(second) - voice.seconds
      try await Task.sleep(for: .seconds(min(2, max(left, 0.01))))
      let queue = await watchdog.status().queue
      voice.showQueue(queue.messages - (queue.doneOnly ?? 0), leaving: queue.doneOnly ?? 0)
    }
  }

  private func release(_ voice: DemoVoice) async throws {
    let ledger = try Ledger("\(folder.state)/ledger.sqlite")
    guard let record = try ledger.quarantine([.gone, .marked], after: 0, limit: 1).first else {
      throw PlainFailure("nothing was quarantined: the demo has failed", Exit.badData)
    }
    let hands = Responder(
      places: Responder.Places(qmail: folder.qmail, state: folder.state),
      layout: try QueueLayout.read(qmail: folder.qmail), ledger: ledger, policy: Policy(),
      control: try ControlDirectory(qmail: folder.qmail).read(), dialect: .stock)
    let outcomes = hands.release(record, inDoubt: false, at: WallClock.now())
    for case .released(let record, let recipients) in outcomes {
      voice.say(
        "One message back: 'qwarden release \(record.identity.id)' gave it to qmail-queue for its \(recipients) pending recipients."
      )
      return
    }
    throw PlainFailure("the release failed: \(outcomes)", Exit.badData)
  }
}

/// Prints the story; takes qwarden's events as it would any sink.
final class DemoVoice: EventSink {
  private let begun = WallClock.monotonic()
  private let lastDepth = Mutex((-1, -1))
  private let style = Style.usual

  var seconds: Double { Double(WallClock.monotonic() - begun) / 1e9 }

  func say(_ text: String) { Output.line("\(stamp) \(style(.strong, text))") }

  func quote(_ title: String, _ text: String) {
    Output.line("\(stamp) \(title):")
    for line in text.split(separator: "\n", omittingEmptySubsequences: false).dropLast() {
      Output.line("          | \(Escaping.terminal(String(line)))")
    }
  }

  func showQueue(_ waiting: Int, leaving: Int) {
    guard
      lastDepth.withLock({ last in
        defer { last = (waiting, leaving) }
        return last != (waiting, leaving)
      })
    else { return }
    let bar =
      String(repeating: "#", count: min(60, waiting / 4))
      + String(repeating: ".", count: min(60, leaving / 4))
    Output.line(
      "\(stamp) queue \(Readable.right(String(waiting), 4)) waiting, \(Readable.right(String(leaving), 4)) leaving  \(bar)"
    )
  }

  func take(_ event: Event) {
    let ink: Style.Ink =
      event.priority.rawValue <= Journal.Priority.alert.rawValue ? .bad : .number
    Output.line("\(stamp) \(style(ink, event.id.rawValue)): \(event.message)")
    for advice in event.advice { Output.line("          -> \(advice)") }
  }

  private var stamp: String { "[\(Readable.right(String(Int(seconds)), 3)) s]" }
}
