import Dispatch
import Files
import Foundation
import Glibc
import Mail

/// Answers questions over a Unix stream socket: one JSON line in, the answer's lines out, then it closes.
///
/// It runs on the watchdog's own Dispatch queue, so nothing here may wait. Every descriptor is non-blocking; questions, answers and
/// clients are bounded, a client that is not done within ``patience`` is dropped, and only so many are let in a second. So a slow or
/// hostile client costs a few system calls and never holds the loop.
actor QuestionServer {
  static let mostClients = 8
  static let mostASecond = 40
  static let longestQuestion = 16 << 10
  static let longestAnswer = 4 << 20
  static let patience = DispatchTimeInterval.seconds(5)

  /// What is said where there is no answer.
  struct Refusal: Codable {
    var error: String
  }

  private struct Client {
    var descriptor: Int32
    var question: [UInt8] = []
    /// What is still to be sent; nil until the question is whole.
    var answer: ArraySlice<UInt8>?
    var source: (any DispatchSourceProtocol)?
    /// The source tells of room to write; on Linux its type does not.
    var awaitsRoom = false
  }

  /// Where the socket of a state directory is.
  static func path(state: String) -> String { "\(state)/socket" }

  private let executor: DispatchExecutor
  nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }
  private let answer: @Sendable (Question) -> [[UInt8]]
  private let path: String
  /// Which file is ours, so that stopping does not take away another's.
  private let file: FileStatus?
  private let listener: Descriptor
  private var accepting: (any DispatchSourceRead)?
  private var isServing = false
  /// When the present second began, and who came in it.
  private var second = DispatchTime.now()
  private var welcomed = 0
  private var clients: [Int: Client] = [:]
  private var next = 0

  /// - Parameter answer: the lines of an answer; called on the executor's queue.
  init(
    at path: String, on executor: DispatchExecutor,
    answer: @escaping @Sendable (Question) -> [[UInt8]]
  ) throws(FileError) {
    listener = try UnixSocket.listen(at: path)
    file = try? FileStatus.of(path)
    self.path = path
    self.executor = executor
    self.answer = answer
  }

  /// The socket that commands find is this one's.
  var isInPlace: Bool {
    guard let file, let now = try? FileStatus.of(path) else { return false }
    return now.isSameFile(as: file)
  }

  func start() {
    isServing = true
    let source = DispatchSource.makeReadSource(
      fileDescriptor: listener.number, queue: executor.queue)
    source.setEventHandler { @Sendable [weak self] in self?.assumeIsolated { $0.accept() } }
    source.activate()
    accepting = source
  }

  /// Ends it: the socket is gone, clients are cut off.
  func stop() {
    isServing = false
    accepting?.cancel()
    accepting = nil
    for number in clients.keys { drop(number) }
    if let file, let now = try? FileStatus.of(path), now.isSameFile(as: file) { unlink(path) }
  }

  private func accept() {
    do {
      if DispatchTime.now() > second + .seconds(1) {
        second = .now()
        welcomed = 0
      }
      guard welcomed < Self.mostASecond else { return rest() }
      // One a call, so that a crowd at the door does not keep the queue's events waiting.
      guard let socket = try UnixSocket.accept(listener) else { return }
      let descriptor = fcntl(socket.number, F_DUPFD_CLOEXEC, 3)
      guard descriptor >= 0 else { throw FileError("accept on", path) }
      welcomed += 1
      welcome(descriptor)
    } catch {
      // No descriptors left: who stands at the door would wake us again at once.
      rest()
    }
  }

  /// Lets nobody in for a while.
  private func rest() {
    accepting?.cancel()
    accepting = nil
    executor.queue.asyncAfter(deadline: .now() + .milliseconds(500)) { @Sendable [weak self] in
      self?.assumeIsolated { if $0.isServing, $0.accepting == nil { $0.start() } }
    }
  }

  private func welcome(_ descriptor: Int32) {
    // An honest client asks at once and is served at once: who has been here longest gives way.
    if clients.count >= Self.mostClients, let oldest = clients.keys.min() { drop(oldest) }
    let number = next
    next += 1
    let source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: executor.queue)
    source.setEventHandler { @Sendable [weak self] in self?.assumeIsolated { $0.read(number) } }
    source.setCancelHandler { @Sendable in close(descriptor) }
    clients[number] = Client(descriptor: descriptor, source: source)
    source.activate()
    executor.queue.asyncAfter(deadline: .now() + Self.patience) { @Sendable [weak self] in
      self?.assumeIsolated { $0.drop(number) }
    }
  }

  private func drop(_ number: Int) { clients.removeValue(forKey: number)?.source?.cancel() }

  private func read(_ number: Int) {
    guard let client = clients[number], client.answer == nil else { return drop(number) }
    var piece = [UInt8](repeating: 0, count: 4096)
    let count = recv(client.descriptor, &piece, piece.count, 0)
    if count < 0, errno == EAGAIN || errno == EINTR { return }
    guard count > 0 else { return drop(number) }
    let question = client.question + piece[..<count]
    guard let end = question.firstIndex(of: 0x0A) else {
      if question.count > Self.longestQuestion { return drop(number) }
      clients[number]?.question = question
      return
    }
    clients[number]?.answer = bytes(answering: question[..<end])[...]
    write(number)
  }

  private func bytes(answering line: ArraySlice<UInt8>) -> [UInt8] {
    guard let question = try? JSONDecoder().decode(Question.self, from: Data(line)) else {
      return refusal(
        "the daemon does not know this question: it is of another version than this command")
    }
    let lines = answer(question)
    let count = lines.reduce(0) { $0 + $1.count + 1 }
    guard count <= Self.longestAnswer else { return refusal("the answer is too long") }
    return Array(lines.map { $0 + [0x0A] }.joined())
  }

  private func refusal(_ why: String) -> [UInt8] {
    var line = JSONLine()
    line.add("error", why)
    return line.closed + [0x0A]
  }

  /// Sends what the socket takes; the rest follows when it takes more.
  private func write(_ number: Int) {
    while let client = clients[number], let rest = client.answer {
      guard !rest.isEmpty else { return drop(number) }
      let sent = rest.withUnsafeBytes {
        send(client.descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      if sent >= 0 {
        clients[number]?.answer = rest.dropFirst(sent)
      } else if errno == EAGAIN {
        awaitRoom(number)
        return
      } else if errno != EINTR {
        return drop(number)
      }
    }
  }

  /// From reading to writing: the read source has closed its descriptor by the time the copy is all that is left.
  private func awaitRoom(_ number: Int) {
    guard let client = clients[number], !client.awaitsRoom else { return }
    let copy = fcntl(client.descriptor, F_DUPFD_CLOEXEC, 3)
    guard copy >= 0 else { return drop(number) }
    client.source?.cancel()
    let source = DispatchSource.makeWriteSource(fileDescriptor: copy, queue: executor.queue)
    source.setEventHandler { @Sendable [weak self] in self?.assumeIsolated { $0.write(number) } }
    source.setCancelHandler { @Sendable in close(copy) }
    clients[number]?.descriptor = copy
    clients[number]?.source = source
    clients[number]?.awaitsRoom = true
    source.activate()
  }
}
