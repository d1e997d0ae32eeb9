import Mail
import QmailQueue
import Testing

@testable import QmailSimulator

/// The product's own readers on a simulated queue.
@Suite struct ReadBackTests {
  @Test(
    "every source is read back from the Received lines as it was given",
    arguments: [
      Source.network(client: "192.0.2.7", helo: "laptop", user: "alice"),
      .network(client: "192.0.2.7", helo: "mx.far.example", user: nil),
      .uid(33), .alias,
    ])
  func sources(source: Source) throws {
    let box = try Sandbox(exchanger: SteadyExchanger { _ in .deferral })
    let id = try box.send(
      "x@mx.test", to: "a@mx.test", "b@far.example", via: source,
      text: "Subject: read me\nList-Id: <l.test>\n\nbody\n")
    let reader = EntryReader(layout: try QueueLayout.read(qmail: box.qmail.qmail))
    guard case .entry(let entry) = reader.read(id) else {
      Issue.record("not read: \(reader.read(id))")
      return
    }
    #expect(entry.identity == EntryIdentity(id: id, birth: box.zero))
    #expect(entry.source == source)
    #expect(entry.sender == Address("x@mx.test"))
    #expect(entry.subject == Array("read me".utf8))
    #expect(entry.isList && !entry.isUnprocessed && !entry.isBouncing)
    #expect(entry.local == [Recipient(address: Address("a@mx.test"))])
    #expect(entry.remote == [Recipient(address: Address("b@far.example"))])
  }

  @Test("a bounce and a double bounce are read back with the source of the original")
  func bounces() throws {
    let client = Source.network(client: "127.9.8.7", helo: "forger.example", user: nil)
    let box = try Sandbox(
      exchanger: SteadyExchanger {
        $0.recipient.localPart.starts(with: "nosuch".utf8) ? .failure : .deferral
      })
    try box.send("victim@far.example", to: "nosuch@mx.test", via: client)
    try box.send("", to: "nosuch@mx.test", via: client)
    let reader = EntryReader(layout: try QueueLayout.read(qmail: box.qmail.qmail))
    var read: [Address: Source] = [:]
    for id in try box.qmail.tree.numbers(.info) {
      if case .entry(let entry) = reader.read(id) { read[entry.sender] = entry.source }
    }
    #expect(read.count == 2)
    #expect(
      read[.null]
        == .bounce(original: Source.Origin(sender: Address("victim@far.example"), source: client)))
    #expect(read[.doubleBounce] == .bounce(original: Source.Origin(sender: .null, source: client)))
  }

  @Test("the watcher sees every message that comes in a minute of traffic, and the lock")
  func watcher() throws {
    let box = try Sandbox(started: false)
    let layout = try QueueLayout.read(qmail: box.qmail.qmail)
    #expect(QmailSend.isRunning(layout) == false)
    try box.qmail.start(at: box.zero)
    #expect(QmailSend.isRunning(layout) == true)
    let watcher = try QueueWatcher(layout: layout)
    _ = try watcher.poll(at: box.zero, fullPass: true)
    let traffic = Traffic(.hijackedAccount, messages: 60, perSecond: 2)
    var arrivals = 0
    var problems: [String] = []
    box.qmail.play(traffic, to: .seconds(60), start: box.zero) { now in
      do {
        let report = try watcher.poll(at: now, fullPass: false)
        arrivals += report.observations.count {
          guard case .arrival(let entry) = $0.event else { return false }
          return entry.sender == Address("alice@mx.test")
            && entry.source == .network(client: "198.18.66.6", helo: "laptop", user: "alice")
        }
        problems += report.damaged.map(\.why)
      } catch { problems.append("\(error)") }
      return true
    }
    // Those that are accepted at once are gone before the watcher, polled once a second, can read them.
    let stillThere = try box.qmail.tree.numbers(.info).count
    #expect(arrivals >= stillThere && arrivals > 30)
    #expect(watcher.counts.messages == stillThere)
    #expect(problems == [])
  }
}
