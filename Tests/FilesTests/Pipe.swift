import Glibc

/// Tells whether a descriptor, its start, is closed everywhere.
struct Pipe {
  let end: Int32
  let start: Int32

  init() {
    var ends: [Int32] = [-1, -1]
    pipe(&ends)
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    (end, start) = (ends[0], ends[1])
  }

  /// Whether nobody can write into it any more; a child just forked elsewhere may hold a copy for a moment.
  func isHungUp(within milliseconds: Int32) -> Bool {
    var look = pollfd(fd: end, events: Int16(POLLIN), revents: 0)
    poll(&look, 1, milliseconds)
    return look.revents & Int16(POLLHUP) != 0
  }
}
