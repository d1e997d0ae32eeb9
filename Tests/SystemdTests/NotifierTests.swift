import Glibc
import Testing

@testable import Systemd

/// A service manager's end of the notify socket.
private struct Manager: ~Copyable {
  let descriptor: Int32

  /// - Parameter name: a path, or `@` and an abstract name.
  init(_ name: String) throws {
    descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = name.utf8.map { $0 == UInt8(ascii: "@") ? 0 : $0 }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    let length = socklen_t(2 + bytes.count)
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, length) }
    }
    guard result == 0 else { throw LabError("bind \(name)") }
  }

  deinit { close(descriptor) }

  /// The next datagram's lines; nil when none waits.
  func next() -> [String]? {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    let count = recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT))
    guard count >= 0 else { return nil }
    return String(decoding: buffer[..<count], as: UTF8.self).split(separator: "\n").map(String.init)
  }
}

@Suite struct NotifierTests {
  private func notifier(_ environment: [String: String]) -> ServiceNotifier {
    ServiceNotifier { environment[$0] }
  }

  @Test("each call is one datagram with its assignments")
  func datagrams() throws {
    try withTemporaryFolder { folder in
      let manager = try Manager("\(folder)/notify")
      let notifier = notifier(["NOTIFY_SOCKET": "\(folder)/notify"])
      #expect(notifier.ready(status: "40 messages, no storm") == .sent)
      #expect(manager.next() == ["READY=1", "STATUS=40 messages, no storm"])
      #expect(notifier.keepAlive(status: "1 storm") == .sent)
      #expect(manager.next() == ["WATCHDOG=1", "STATUS=1 storm"])
      #expect(notifier.keepAlive() == .sent)
      #expect(manager.next() == ["WATCHDOG=1"])
      #expect(notifier.keepAlive(isStarting: true) == .sent)
      #expect(manager.next() == ["WATCHDOG=1", "EXTEND_TIMEOUT_USEC=60000000"])
      #expect(notifier.stopping() == .sent)
      #expect(manager.next() == ["STOPPING=1"])
      #expect(manager.next() == nil)
    }
  }

  @Test("a reload carries the monotonic time of the call, in microseconds")
  func reload() throws {
    try withTemporaryFolder { folder in
      let manager = try Manager("\(folder)/notify")
      func now() -> Int {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return time.tv_sec * 1_000_000 + time.tv_nsec / 1000
      }
      let before = now()
      notifier(["NOTIFY_SOCKET": "\(folder)/notify"]).reloading()
      let datagram = manager.next()
      let lines = try #require(datagram)
      #expect(lines.first == "RELOADING=1")
      let time = try #require(Int(lines[1].dropFirst("MONOTONIC_USEC=".count)))
      #expect((before...now()).contains(time))
    }
  }

  @Test("a status cannot smuggle another assignment, and is cut at its limit")
  func hostileStatus() throws {
    try withTemporaryFolder { folder in
      let manager = try Manager("\(folder)/notify")
      let notifier = notifier(["NOTIFY_SOCKET": "\(folder)/notify"])
      notifier.ready(status: "a\nSTOPPING=1\r\u{0}\u{1B}[2J")
      #expect(manager.next() == ["READY=1", "STATUS=a STOPPING=1   [2J"])
      notifier.ready(status: String(repeating: "ä", count: 5000))
      let datagram = manager.next()
      let line = try #require(datagram?.last)
      #expect(line.utf8.count <= ServiceNotifier.statusLimit + 10)
    }
  }

  @Test("an abstract socket works")
  func abstractSocket() throws {
    let name = "@qwarden-test-\(getpid())"
    let manager = try Manager(name)
    #expect(notifier(["NOTIFY_SOCKET": name]).ready() == .sent)
    #expect(manager.next() == ["READY=1"])
  }

  @Test("without systemd nothing is sent, and a broken socket is reported")
  func failures() {
    #expect(notifier([:]).ready() == .notSupervised)
    #expect(notifier(["NOTIFY_SOCKET": ""]).ready() == .notSupervised)
    #expect(notifier(["NOTIFY_SOCKET": "/nowhere/notify"]).ready() == .failed(code: ENOENT))
    #expect(notifier(["NOTIFY_SOCKET": "vsock:2:1"]).ready() == .failed(code: EAFNOSUPPORT))
    let long = "/" + String(repeating: "x", count: 200)
    #expect(notifier(["NOTIFY_SOCKET": long]).ready() == .failed(code: ENAMETOOLONG))
  }

  @Test("a service manager that does not read never blocks the caller")
  func fullQueue() throws {
    try withTemporaryFolder { folder in
      let manager = try Manager("\(folder)/notify")
      let notifier = notifier(["NOTIFY_SOCKET": "\(folder)/notify"])
      var outcome = ServiceNotifier.Outcome.sent
      for _ in 0..<100_000 where outcome == .sent { outcome = notifier.keepAlive() }
      #expect(outcome == .failed(code: EAGAIN))
      #expect(manager.next() == ["WATCHDOG=1"])
      #expect(notifier.keepAlive() == .sent)
    }
  }

  @Test("the watchdog interval is taken only when it is meant for this process")
  func watchdog() {
    #expect(notifier(["WATCHDOG_USEC": "30000000"]).watchdogInterval == .seconds(30))
    let own = ["WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "\(getpid())"]
    #expect(notifier(own).watchdogInterval == .milliseconds(1500))
    let other = ["WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"]
    #expect(notifier(other).watchdogInterval == nil)
    for bad in ["0", "-5", "soon", "99999999999999999999", ""] {
      #expect(notifier(["WATCHDOG_USEC": bad]).watchdogInterval == nil)
    }
    #expect(notifier([:]).watchdogInterval == nil)
  }
}
