import Dispatch
import Files
import Fixtures
import Foundation
import Glibc
import QmailSimulator
import Synchronization
import Testing

@testable import Watchdog

/// A server by itself, with answers of the test's making.
private final class Counter: Sendable {
  private let folder = TemporaryFolder()
  var state: String { folder.path }
  let executor = DispatchExecutor(label: "test")
  let server: QuestionServer
  let asked = Witnessed<Question>()

  init(_ answer: @escaping @Sendable (Question) -> [[UInt8]]) throws {
    let asked = asked
    server = try QuestionServer(at: QuestionServer.path(state: folder.path), on: executor) {
      asked.add($0)
      return answer($0)
    }
    executor.queue.sync { server.assumeIsolated { $0.start() } }
  }

  func close() {
    executor.queue.sync { server.assumeIsolated { $0.stop() } }
  }

  func connect() throws -> Descriptor {
    try UnixSocket.connect(to: QuestionServer.path(state: state), patience: .seconds(20))
  }
}

extension Descriptor {
  fileprivate func say(_ text: String) { _ = send(number, text, text.utf8.count, MSG.quiet) }
  /// What comes until the other side closes; nil when it says nothing for long.
  fileprivate func listen() -> [UInt8]? {
    var heard: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = recv(number, &piece, piece.count, 0)
      if count < 0 { return errno == ECONNRESET ? heard : nil }
      if count == 0 { return heard }
      heard += piece[..<count]
    }
  }
}

private enum MSG { static let quiet = Int32(MSG_NOSIGNAL) }

@Suite struct QuestionTests {
  private static let numbered: @Sendable (Question) -> [[UInt8]] = { question in
    guard case .top(let rows) = question else { return [] }
    return [Array("{\"rows\":\(rows)}".utf8)]
  }
  private struct Rows: Decodable { var rows: Int }

  @Test("an answer of many lines, longer than a socket holds, comes whole")
  func longAnswer() throws {
    let lines = (0..<3000).map {
      Array("{\"line\":\($0),\"text\":\"\(String(repeating: "x", count: 900))\"}".utf8)
    }
    let counter = try Counter { _ in lines }
    defer { counter.close() }
    let heard = try Daemon(state: counter.state).lines(.top(rows: 1))
    #expect(heard.map(Array.init) == lines)
  }

  @Test("an answer over the bound is refused, and the client told")
  func tooLong() throws {
    let counter = try Counter { _ in [[UInt8](repeating: 0x20, count: QuestionServer.longestAnswer)]
    }
    defer { counter.close() }
    let error = #expect(throws: Daemon.NoAnswer.self) {
      try Daemon(state: counter.state).lines(.top(rows: 1))
    }
    #expect(error?.kind == .refused)
    #expect(error?.description.contains("too long") == true)
  }

  @Test("clients that never ask, that ask for ever or read nothing do not keep others waiting")
  func hostileClients() throws {
    let big = [UInt8](repeating: 0x20, count: 1 << 20)
    let counter = try Counter { question in
      question == .top(rows: 7) ? [big] : Self.numbered(question)
    }
    defer { counter.close() }
    // More of them than the server has room for, of each sort, and all stay.
    var hostile: [Int32] = []
    defer { for descriptor in hostile { Glibc.close(descriptor) } }
    for number in 0..<3 * QuestionServer.mostClients {
      let client = try counter.connect()
      switch number % 3 {
      case 0: break
      case 1: client.say(String(repeating: "{", count: QuestionServer.longestQuestion / 2))
      default: client.say("{\"top\":{\"rows\":7}}\n")
      }
      hostile.append(fcntl(client.number, F_DUPFD_CLOEXEC, 3))
      // The server's own turn comes between two clients, as it would with clients in other processes.
      let answer = try Daemon(state: counter.state).ask(.top(rows: number + 10), as: Rows.self)
      #expect(answer.rows == number + 10)
    }
  }

  @Test("a crowd of askers waits at the door and is served all the same")
  func crowd() async throws {
    let counter = try Counter(Self.numbered)
    defer { counter.close() }
    let state = counter.state
    let answers = try await withThrowingTaskGroup(of: Int.self) { group in
      for number in 0..<2 * QuestionServer.mostASecond {
        // Sixteen fit at the door at once.
        if number >= 8 { _ = try await group.next() }
        group.addTask { try Daemon(state: state).ask(.top(rows: number), as: Rows.self).rows }
      }
      return try await group.reduce(0) { count, _ in count + 1 }
    }
    #expect(answers == 8)
    #expect(counter.asked.values.count == 2 * QuestionServer.mostASecond)
  }

  @Test("a question over the bound ends the conversation")
  func longQuestion() throws {
    let counter = try Counter(Self.numbered)
    defer { counter.close() }
    let client = try counter.connect()
    for _ in 0..<8 { client.say(String(repeating: " ", count: QuestionServer.longestQuestion / 4)) }
    #expect(client.listen() == [])
    #expect(counter.asked.values.isEmpty)
  }

  @Test(
    "what is no question is refused in words",
    arguments: [
      "\n", "top\n", "{}\n", "{\"top\":{}}\n", "{\"top\":{\"rows\":\"x\"}}\n", "{\"rm\":{}}\n",
      "\u{0}\n",
      "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n",
    ])
  func notAQuestion(_ text: String) throws {
    let counter = try Counter(Self.numbered)
    defer { counter.close() }
    let client = try counter.connect()
    client.say(text)
    let answer = client.listen()
    let heard = try #require(answer)
    #expect(
      String(decoding: heard, as: UTF8.self).hasPrefix("{\"error\":\"the daemon does not know"))
    #expect(counter.asked.values.isEmpty)
  }

  @Test("a question in pieces is one question; what follows it is not read")
  func pieces() throws {
    let counter = try Counter(Self.numbered)
    defer { counter.close() }
    let client = try counter.connect()
    for piece in ["{\"top\"", ":{\"rows\":", "3}}", "\n{\"top\":{\"rows\":4}}\n"] {
      client.say(piece)
    }
    #expect(client.listen() == Array("{\"rows\":3}\n".utf8))
    #expect(counter.asked.values == [.top(rows: 3)])
  }

  @Test("where no daemon answers, the error says so and how to start one")
  func absent() throws {
    let counter = try Counter(Self.numbered)
    counter.close()
    let error = #expect(throws: Daemon.NoAnswer.self) {
      try Daemon(state: counter.state).lines(.top(rows: 1))
    }
    #expect(error?.kind == .absent)
    #expect(error?.description.contains("systemctl start qwarden") == true)
  }

  @Test("stopping takes the socket away, but not one that another has put there")
  func stopping() throws {
    let counter = try Counter(Self.numbered)
    defer { counter.close() }
    let path = QuestionServer.path(state: counter.state)
    unlink(path)
    #expect(FileManager.default.createFile(atPath: path, contents: nil))
    counter.executor.queue.sync { counter.server.assumeIsolated { $0.stop() } }
    #expect(FileManager.default.fileExists(atPath: path))
  }

  @Test("the running daemon answers, and after its end nobody does")
  func running() async throws {
    let watched = WatchedQmail()
    _ = try SimulatedQmail.create(at: watched.qmail)
    let watchdog = try watched.watchdog(.brisk)
    watchdog.start {}
    let daemon = Daemon(state: watched.state)
    let answers = await watched.wait(20) {
      (try? daemon.ask(.top(rows: 5), as: TopReport.self))?.status.version == "test"
    }
    #expect(answers)
    await watchdog.stop()
    #expect(throws: Daemon.NoAnswer.self) { try daemon.lines(.top(rows: 5)) }
    #expect(!FileManager.default.fileExists(atPath: QuestionServer.path(state: watched.state)))
  }
}
