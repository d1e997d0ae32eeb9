import Files
import Glibc
import Mail

/// A qmail-queue that has everything but the last byte of its envelope. Dropped or cancelled, it queues nothing.
public struct Injection: ~Copyable, Sendable {
  /// Its process: `qp` in qmail-send's log, and in the released message's first Received line.
  public let pid: Int32
  private let socket: Descriptor
  private var hasEnvelope = false

  init(pid: Int32, socket: consuming Descriptor) {
    self.pid = pid
    self.socket = socket
  }

  /// Writes the last byte, which makes the message the queue's. Then ask for the ``result(within:)``.
  public mutating func complete() {
    do throws(SendFailure) {
      try send([0], until: .now + .seconds(60))
      hasEnvelope = true
    } catch {}
    shutdown(socket.number, Int32(SHUT_WR))
  }

  /// Waits for the answer.
  ///
  /// qmail-queue's own limit is 24 hours. After `limit` this stops waiting and says ``InjectionResult/unknown``: the child is left to
  /// finish, because killing it now could not tell whether it had queued the message.
  public consuming func result(within limit: Duration = .seconds(60)) -> InjectionResult {
    wait(until: .now + limit, hasEnvelope: hasEnvelope) ?? .unknown
  }

  /// Both.
  public consuming func commit(within limit: Duration = .seconds(60)) -> InjectionResult {
    complete()
    return result(within: limit)
  }

  /// Ends it; nothing is queued. qmail-queue removes what it has written (cleanup() in qmail-queue.c).
  /// - Returns: how it ended.
  @discardableResult
  public consuming func cancel() -> InjectionResult {
    shutdown(socket.number, Int32(SHUT_RDWR))
    if let result = wait(until: .now + .seconds(5), hasEnvelope: false) { return result }
    // It never had the last byte, so killing it queues nothing; qmail-clean removes its leftovers after 36 hours.
    kill(pid, SIGKILL)
    return wait(until: .now + .seconds(5), hasEnvelope: false) ?? .unknown
  }

  borrowing func send(_ bytes: ArraySlice<UInt8>, until deadline: ContinuousClock.Instant)
    throws(SendFailure)
  {
    var rest = bytes
    while !rest.isEmpty {
      let sent = rest.withUnsafeBytes {
        Glibc.send(
          socket.number, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
      }
      if sent > 0 {
        rest = rest.dropFirst(sent)
      } else if errno == EAGAIN || errno == EWOULDBLOCK {
        guard poll(Int16(POLLOUT), until: deadline) else { throw .timeout }
      } else if errno != EINTR {
        throw .closed
      }
    }
  }

  /// Waits for the child's end; nil when the time is over.
  private borrowing func wait(until deadline: ContinuousClock.Instant, hasEnvelope: Bool)
    -> InjectionResult?
  {
    var hasHungUp = false
    while true {
      if let result = Self.reap(pid, hasEnvelope: hasEnvelope) { return result }
      if .now >= deadline { return nil }
      // The child's end closes when it exits, a moment before it can be reaped; a child may also close it early.
      if hasHungUp {
        usleep(500)
      } else {
        hasHungUp = poll(0, until: min(deadline, .now + .milliseconds(50)))
      }
    }
  }

  /// - Returns: false when nothing came in time.
  private borrowing func poll(_ events: Int16, until deadline: ContinuousClock.Instant) -> Bool {
    var entry = pollfd(fd: socket.number, events: events, revents: 0)
    let left = max(0, (deadline - .now).inSeconds * 1000)
    return Glibc.poll(&entry, 1, Int32(min(left.rounded(.up), 60_000))) > 0
  }

  /// The child's result when it has ended.
  private static func reap(_ pid: Int32, hasEnvelope: Bool) -> InjectionResult? {
    var status: Int32 = 0
    let found = waitpid(pid, &status, WNOHANG)
    if found == 0 || (found < 0 && errno == EINTR) { return nil }
    if found < 0 { return .unknown }  // reaped by somebody else
    let signal = status & 0x7F
    if signal != 0 { return .killed(signal: signal) }
    let code = (status >> 8) & 0xFF
    return code == 0 && hasEnvelope ? .queued : .failed(code: code)
  }
}

enum SendFailure: Error {
  case timeout
  case closed
}
