import Mail
import Testing

@testable import Storms

@Suite("The trace format")
struct TraceFormatTests {
  private let head = """
    {"event": "trace", "version": 1, "host": "mx.test", "local_domains": ["MX.test", "localhost"], "started": "2026-11-23T18:27:31Z"}

    """

  private func all(_ text: String) throws(TraceReader.Failure) -> [Observation] {
    var reader = try TraceReader(Array(text.utf8))
    var found: [Observation] = []
    while let observation = try reader.next() { found.append(observation) }
    return found
  }

  @Test("what is written is read back")
  func roundTrip() throws {
    var header = TraceReader.Header()
    header.host = "mx.test"
    header.localDomains = ours
    header.started = "2026-11-23T18:27:31Z"
    let writer = TraceWriter(header: header)
    let identity = EntryIdentity(id: 1_411_257, birth: start - .milliseconds(125))
    let events: [Observation.Event] = [
      .arrival(
        Entry(
          identity: identity, size: 7234, sender: Address("b\"o\\b@mx.test"),
          source: .network(client: "10.20.1.73", helo: "pc-bob", user: "bob"), isList: true,
          subject: Array("Grüße\u{1}".utf8), local: [Recipient(address: Address("a@mx.test"))],
          remote: [Recipient(address: Address("m@big.example"))])),
      .arrival(
        Entry(
          identity: identity, sender: .doubleBounce,
          source: .bounce(
            original: .init(
              sender: .null, source: .network(client: "1.2.3.4", helo: nil, user: nil),
              failedRecipients: 3)),
          unrouted: [Address("postmaster@mx.test")], isUnprocessed: true)),
      .arrival(Entry(identity: identity, source: .uid(33), queuedBy: 4711)),
      .takenOut(identity),
      .processed(identity),
      .progress(.init(id: 5, doneLocal: 1, doneRemote: 2, isBouncing: true, failed: 2)),
      .departure(id: 5), .counts(QueueCounts(messages: 7, unprocessed: 1)),
      .health(QueueHealth(senderIsRunning: false, freeSpace: 0.5, freeInodes: 0.25)),
      .log(.info(id: 5, bytes: 10, sender: Address("a@b"), pid: 6, uid: 7)),
      .log(.starting(delivery: 1, id: 5, channel: .remote, recipient: Address("x@y"))),
      .log(.outcome(delivery: 1, .failure, text: "Sorry_(#5.1.1)/")), .log(.end(id: 5)),
      .log(.status(text: "local 0/10 remote 0/20")), .log(.other(text: "warning: \u{7}")),
    ]
    let observations = events.map { Observation(time: start + .milliseconds(250), event: $0) }
    var bytes = writer.firstLine
    for observation in observations { bytes += writer.line(for: observation) }
    var reader = try TraceReader(bytes)
    #expect(reader.header == header)
    for observation in observations { #expect(try reader.next() == observation) }
    #expect(try reader.next() == nil)
  }

  @Test("unknown events and keys are passed over, a missing newline at the end is none")
  func unknown() throws {
    let found = try all(
      head + #"{"event":"new","t":1}"# + "\n\n"
        + #"{"event":"departure","t":1795458451.5,"id":3,"more":[{"a":null}]}"#)
    #expect(
      found == [Observation(time: Timestamp(seconds: 1_795_458_451.5), event: .departure(id: 3))])
    #expect(try TraceReader(Array(head.utf8)).header.localDomains == ours)
  }

  @Test(
    "bad lines are refused with their number and what is wrong",
    arguments: [
      ("", "line 1: bad JSON"), ("{}\n", "line 1: no trace"),
      (#"{"event":"trace","version":2}"#, "line 1: trace version 2 is not known"),
    ])
  func badHeader(text: String, message: String) {
    #expect { try all(text) } throws: { "\($0)".hasPrefix(message) }
  }

  @Test(
    "bad events are refused with their line",
    arguments: [
      #"{"event":"departure","t":1}"#, #"{"event":"departure","id":1}"#, #"{"t":1}"#, "[]",
      #"{"event":"arrival","t":1,"id":1,"birth":1}"#, #"{"event":"log","t":1}"#,
      #"{"event":"departure","t":1,"id":-1}"#, #"{"event":"log","t":1,"line":"a}"#, "{\"a\":1",
      #"{"a":tru}"#, #"{"a":01x}"#, #"{"a":1} x"#, #"{"a":"\q"}"#, #"{"a":"\u12"}"#,
      String(repeating: "[", count: 5000), #"{"event":"departure","t":1e999,"id":"1"}"#,
    ])
  func badEvent(line: String) {
    #expect { try all(head + line) } throws: { "\($0)".hasPrefix("line 2: ") }
  }

  @Test("JSON escapes, numbers and surrogates")
  func json() throws {
    let value = try JSONValue(
      Array(
        #" {"a":"\u00fc\ud83d\ude00\n\"","b":[-1.5e3,18446744073709551615,true,null],"c":{}} "#.utf8
      )[...])
    #expect(value["a"]?.string == "ü😀\n\"")
    #expect(value["b"]?.array?.first?.number == -1500)
    #expect(value["b"]?.array?[2].bool == true)
    #expect(try JSONValue(Array(#""\ud83d x""#.utf8)[...]) == .string("\u{FFFD} x"))
    #expect(try JSONValue([0x22, 0xFF, 0x22][...]) == .string("ÿ"))
  }
}
