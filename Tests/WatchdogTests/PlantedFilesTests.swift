import Files
import Glibc
import Mail
import Policy
import QmailControl
import QmailQueue
import QmailSimulator
import Response
import Testing

@testable import Watchdog

/// FIFOs, links and directories where qmail and qwarden have plain files. A reader that waits for a FIFO's other end would never come back,
/// and the test with it.
@Suite struct PlantedFilesTests {
  enum Plant: String, CaseIterable {
    case fifo, danglingLink, linkToSecret, hardLink, directory

    func put(at path: String, secret: String) throws {
      unlink(path)
      switch self {
      case .fifo: #expect(mkfifo(path, 0o666) == 0)
      case .danglingLink: #expect(symlink("/nowhere/at/all", path) == 0)
      case .linkToSecret: #expect(symlink(secret, path) == 0)
      case .hardLink: #expect(link(secret, path) == 0)
      case .directory: #expect(mkdir(path, 0o755) == 0)
      }
    }
  }

  private static let sender = Address("planted@mx.test")

  /// A qmail with one deferred message after another.
  private func queue(_ watched: WatchedQmail, messages: Int) throws -> [EntryIdentity] {
    let qmail = try SimulatedQmail.create(at: watched.qmail, time: .virtual)
    qmail.exchanger = SteadyExchanger { _ in .deferral }
    let now = WallClock.now() - .seconds(10)
    try qmail.start(at: now)
    var ids: [UInt64] = []
    for _ in 0..<messages {
      ids.append(
        try qmail.inject(
          SimulatedInjection(
            sender: Self.sender, recipients: [Address("planted@remote.example")],
            source: .network(client: "198.18.0.9", helo: "x", user: "alice"),
            message: Array("Subject: x\n\nhello\n".utf8)), at: now))
    }
    qmail.advance(to: now + .seconds(1), from: now)
    let layout = try QueueLayout.read(qmail: watched.qmail)
    return try ids.map {
      EntryIdentity(id: $0, birth: try FileStatus.of(layout.path(.info, $0)).modified)
    }
  }

  @Test(
    "planted in the queue: passed over, neither followed nor waited for", arguments: Plant.allCases)
  func inQueue(_ plant: Plant) throws {
    let watched = WatchedQmail()
    let entries = try queue(watched, messages: 6)
    let secret = "\(watched.path)/secret"
    try Replacement.write(Array("Ttop@secret\0".utf8), to: secret, mode: 0o600)
    let layout = try QueueLayout.read(qmail: watched.qmail)
    for (kind, entry) in zip([QueueFile.info, .mess, .remote, .bounce, .todo], entries) {
      try plant.put(at: layout.path(kind, entry.id), secret: secret)
    }
    try plant.put(at: "\(layout.queue)/todo/999999", secret: secret)
    try plant.put(at: "\(layout.queue)/bounce/qwarden.7.8", secret: secret)
    var policy = Policy.brisk
    policy.quarantine.minimumFreeSpace = 0
    policy.quarantine.minimumFreeInodes = 0
    _ = try watched.watchdog(policy).runOnce()
    let responder = Responder(
      places: Responder.Places(qmail: watched.qmail, state: watched.state), layout: layout,
      ledger: try watched.ledger(), policy: policy,
      control: try ControlDirectory(qmail: watched.qmail).read(), dialect: .stock)
    let order = RemovalOrder(by: "root", reason: "", keepsCopy: true)
    let (fates, _) = responder.remove(
      entries.map { ($0, Self.sender) }, by: order, at: WallClock.now())
    // The one message whose files are all its own goes; the secret is neither marked nor copied.
    #expect(fates[entries[5]] == .removed(inDoubt: 0))
    // A second name of a whole file is told from the file by nothing but its number, which the simulated qmail need not keep.
    for entry in plant == .hardLink ? [entries[0], entries[2]] : Array(entries[0..<3]) {
      if case .removed = fates[entry] { Issue.record("\(plant): \(entry.id) was taken out") }
    }
    #expect(try Descriptor.open(secret).readAll(limit: 100) == Array("Ttop@secret\0".utf8))
  }

  @Test(
    "planted in the state directory: refused with a reason, or replaced; nothing is followed or waited for",
    arguments: ["ledger.sqlite", "status.json", "lock", "daemon.lock", "quarantine"], Plant.allCases
  )
  func inState(_ name: String, _ plant: Plant) throws {
    let watched = WatchedQmail()
    _ = try queue(watched, messages: 1)
    let secret = "\(watched.path)/secret"
    try Replacement.write(Array("keep me\n".utf8), to: secret, mode: 0o600)
    try Folder.make(watched.state)
    try plant.put(at: "\(watched.state)/\(name)", secret: secret)
    do { _ = try watched.watchdog(.brisk).runOnce() } catch { #expect(!"\(error)".isEmpty) }
    let after = try Descriptor.open(secret).readAll(limit: 100)
    #expect(after == Array("keep me\n".utf8), "\(name), \(plant): the file behind it was written")
  }

  @Test(
    "planted in control: said, and nothing hangs", arguments: ["locals", "badmailfrom"],
    Plant.allCases)
  func inControl(_ name: String, _ plant: Plant) throws {
    let watched = WatchedQmail()
    _ = try queue(watched, messages: 1)
    let secret = "\(watched.path)/secret"
    try Replacement.write(Array("keep me\n".utf8), to: secret, mode: 0o600)
    try plant.put(at: "\(watched.qmail)/control/\(name)", secret: secret)
    do {
      let status = try watched.watchdog(.brisk).runOnce()
      #expect(status.pid == getpid())
    } catch { #expect("\(error)".contains(name)) }
    #expect(try Descriptor.open(secret).readAll(limit: 100) == Array("keep me\n".utf8))
  }
}
