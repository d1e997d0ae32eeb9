import Files
import Glibc
import Testing

/// A shell that ends another process when this one dies without having done so.
final class Guardian {
  private let child: Child
  private let socket: Descriptor

  init(of pid: pid_t) throws {
    var child: Child?
    socket = try Child.connected {
      child = try Child(["/bin/sh", "-c", "read word || kill -TERM \(pid)"], input: $0)
    }
    self.child = try #require(child)
  }

  /// Sends it home; it kills nobody.
  func dismiss() {
    Line(socket.number).say("go")
    if child.status(within: 5) == nil { child.end(within: 1) }
  }
}

extension Child {
  /// Starts a program that gets one end of a socket pair.
  /// - Returns: the other end.
  static func connected(_ start: (Int32) throws -> Void) throws -> Descriptor {
    var ends: [Int32] = [-1, -1]
    guard
      socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0
    else { throw FileError("open", "a socket pair") }
    let ours = Descriptor(owning: ends[0], path: "socket pair")
    let theirs = Descriptor(owning: ends[1], path: "socket pair")
    try start(theirs.number)
    return ours
  }
}
