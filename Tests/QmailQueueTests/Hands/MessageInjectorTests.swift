import Files
import Glibc
import Mail
import Testing

@testable import QmailQueue

@Suite("Injection through qmail-queue")
struct MessageInjectorTests {
  let queue: HandsFixture
  let injector: MessageInjector
  init() throws {
    queue = try HandsFixture()
    injector = MessageInjector(qmail: queue.home)
  }

  /// A program in qmail-queue's place: keeps what it is given and, like the real one, queues only a whole envelope.
  func program(_ body: String) throws {
    try queue.write(
      """
      #!/bin/sh
      here=\(queue.home)
      /bin/ls -l /proc/self/fd | /usr/bin/wc -l > $here/fds
      /usr/bin/env > $here/environment
      \(body)
      """, to: "\(queue.home)/bin/qmail-queue", mode: 0o700)
  }
  let takeAll = """
    /bin/cat > $here/message
    /bin/cat <&1 > $here/envelope
    [ "$(/usr/bin/tail -c 2 $here/envelope | /usr/bin/od -An -tx1)" = " 00 00" ] || exit 54
    : > $here/queued
    """
  func message(_ text: String = "Subject: x\n\nbody\n") throws -> Descriptor {
    try queue.write(text, to: "\(queue.home)/in")
    return try Descriptor.open("\(queue.home)/in")
  }
  var isQueued: Bool { queue.exists("\(queue.home)/queued") }

  @Test("Message and envelope arrive byte for byte; nothing is queued before the commit")
  func commit() throws {
    try program(takeAll)
    let text = String(repeating: "line\n.\n..x\n", count: 20_000)
    let file = try message(text)
    _ = try file.read(limit: 10)
    lseek(file.number, 7, SEEK_SET)
    let recipients = (0..<30_000).map { Address("recipient\($0)@example.test") }
    let injection = try injector.start(file, from: .null, to: recipients)
    #expect(injection.pid > 0)
    usleep(50_000)
    #expect(!isQueued)
    #expect(injection.commit() == .queued)
    #expect(isQueued)
    #expect(queue.read("\(queue.home)/message") == text)
    let expected = "F\0" + recipients.map { "T\($0)\0" }.joined() + "\0"
    #expect(queue.read("\(queue.home)/envelope") == expected)
  }

  @Test("The child has a clean environment and no descriptor of ours")
  func cleanChild() throws {
    try program(takeAll)
    // Descriptors that are not close-on-exec must not reach it either.
    let leaks = (0..<5).map { _ in dup(1) }
    defer { for leak in leaks { close(leak) } }
    setenv("QWARDEN_TEST_SECRET", "1", 1)
    let injection = try injector.start(try message(), from: Address("a@b"), to: [Address("c@d")])
    #expect(injection.commit() == .queued)
    #expect(queue.read("\(queue.home)/environment")?.contains("QWARDEN_TEST_SECRET") == false)
    // "total", 0, 1 (the pipe to wc), 2, and ls's own: the shell adds none.
    #expect(
      (queue.read("\(queue.home)/fds")?.split(separator: "\n").first.flatMap { Int($0) } ?? 99) <= 5
    )
  }

  @Test("Cancelled or dropped before the commit, nothing is queued")
  func cancel() throws {
    try program(takeAll)
    let injection = try injector.start(try message(), from: Address("a@b"), to: [Address("c@d")])
    #expect(injection.cancel() == .failed(code: 54))
    #expect(!isQueued)
    #expect(queue.read("\(queue.home)/envelope") == "Fa@b\0Tc@d\0")
  }

  @Test(
    "Exit codes are told apart as permanent and temporary, in words",
    arguments: [11, 31, 51, 53, 54, 65, 81, 91, 99])
  func exitCodes(_ code: Int32) throws {
    try program("/bin/cat > /dev/null; /bin/cat <&1 > /dev/null; exit \(code)")
    let injection = try injector.start(try message(), from: Address("a@b"), to: [Address("c@d")])
    let result = injection.commit()
    #expect(result == .failed(code: code))
    #expect(result.isTemporary == (code < 11 || code > 40))
    #expect(result.description.contains("(exit \(code))"))
  }

  @Test("A child that ends at once does not kill us by SIGPIPE and is not taken for success")
  func endsAtOnce() throws {
    for code in [0, 53] as [Int32] {
      try program("exec 0<&- 1<&-; exit \(code)")
      let recipients = (0..<50_000).map { Address("recipient\($0)@example.test") }
      let file = try message()
      do throws(InjectionError) {
        let injection = try injector.start(file, from: .null, to: recipients)
        #expect(injection.commit() == .failed(code: code))
      } catch {
        #expect(error == .ended(.failed(code: code)))
      }
    }
  }

  @Test(
    "A child that does not end is waited for no longer than allowed, and queues the message later"
  )
  func slowToEnd() throws {
    try program(takeAll)
    let injection = try injector.start(try message(), from: .null, to: [Address("a@b")])
    let pid = injection.pid
    kill(pid, SIGSTOP)
    #expect(injection.commit(within: .milliseconds(100)) == .unknown)
    #expect(!isQueued)
    kill(pid, SIGCONT)
    waitpid(pid, nil, 0)
    #expect(isQueued)
  }

  @Test("A child that does not read its envelope is given up, with nothing queued")
  func slowToRead() throws {
    try program("exec /bin/sleep 0.4")
    let recipients = (0..<50_000).map { Address("recipient\($0)@example.test") }
    let file = try message()
    var refused: InjectionError?
    do throws(InjectionError) {
      _ = try injector.start(file, from: .null, to: recipients, within: .milliseconds(100))
    } catch { refused = error }
    #expect(refused == .tooSlow(seconds: 0.1))
    #expect(refused?.isTemporary == true)
  }

  @Test("What qmail-queue would not take, or would forget, is refused before it is started")
  func refusals() throws {
    let file = try message()
    let long = Address(String(repeating: "x", count: 1003))
    for (sender, recipients) in [
      (Address("a@b"), []), (Address("a@b"), [Address([0x61, 0, 0x62])]), (Address("a@b"), [long]),
      (long, [Address("a@b")]),
    ] as [(Address, [Address])] {
      var refused: InjectionError?
      do { _ = try injector.start(file, from: sender, to: recipients) } catch { refused = error }
      #expect(refused != nil)
      #expect(refused?.isTemporary == false)
    }
    let longest = Address(String(repeating: "x", count: 1002))
    #expect(try MessageInjector.envelope(from: .null, to: [longest]).count == 2 + 1004 + 1)
    var refused: InjectionError?
    do { _ = try injector.start(file, from: .null, to: [Address("a@b")]) } catch { refused = error }
    #expect(
      refused
        == .notStarted(path: "\(queue.home)/bin/qmail-queue", why: "No such file or directory"))
  }
}
