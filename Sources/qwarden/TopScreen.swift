import Glibc
import Synchronization

/// The terminal while `qwarden top` draws on it: alternate screen, keys without Enter; given back however the program ends, as far
/// as a program can see to that.
///
/// There is one terminal and one of these. Signal handlers reach it through the statics below and call only what signal-safety(7) allows.
final class TopScreen {
  enum Happening {
    case key(UInt8)
    case resized
    /// By a signal, or because standard input ended.
    case ended
    case nothing
  }

  private static let entering = "\u{1B}[?1049h\u{1B}[?7l\u{1B}[?25l"
  private static let leaving = Array("\u{1B}[?25h\u{1B}[?7h\u{1B}[?1049l".utf8)
  private static let ends = [SIGINT, SIGTERM, SIGHUP, SIGQUIT]
  private static let crashes = [SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGABRT, SIGFPE]
  /// Written to by the handlers, so that poll(2) wakes.
  nonisolated(unsafe) private static var alarm: Int32 = -1
  nonisolated(unsafe) private static var before = termios()
  private static let isDrawn = Atomic<Bool>(false)

  private let ear: Int32
  private var hasKeys = isatty(STDIN_FILENO) == 1

  /// Nothing changes before ``enter()``.
  /// - Returns: nil when there are no descriptors left.
  init?() {
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else { return nil }
    for end in ends { _ = fcntl(end, F_SETFL, O_NONBLOCK) }
    ear = ends[0]
    Self.alarm = ends[1]
    if hasKeys { hasKeys = tcgetattr(STDIN_FILENO, &Self.before) == 0 }
    for number in Self.ends + [SIGWINCH, SIGTSTP, SIGCONT] {
      Self.handle(number) { number in
        var byte = UInt8(truncatingIfNeeded: number)
        let error = errno
        _ = write(TopScreen.alarm, &byte, 1)
        errno = error
      }
    }
    for number in Self.crashes {
      Self.handle(number) { number in
        TopScreen.restore()
        signal(number, SIG_DFL)
        raise(number)
      }
    }
  }

  func enter() {
    if hasKeys {
      var raw = Self.before
      raw.c_lflag &= ~tcflag_t(ICANON | ECHO)
      tcsetattr(STDIN_FILENO, TCSADRAIN, &raw)
    }
    Self.isDrawn.store(true, ordering: .sequentiallyConsistent)
    Output.write(Self.entering)
  }

  func leave() { Self.restore() }

  /// Safe in a signal handler.
  private static func restore() {
    guard isDrawn.exchange(false, ordering: .sequentiallyConsistent) else { return }
    _ = leaving.withUnsafeBufferPointer { write(STDOUT_FILENO, $0.baseAddress, $0.count) }
    if isatty(STDIN_FILENO) == 1 { tcsetattr(STDIN_FILENO, TCSANOW, &before) }
  }

  /// Columns and rows.
  static var size: (width: Int, height: Int)? {
    var size = winsize()
    guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0
    else { return nil }
    return (Int(size.ws_col), Int(size.ws_row))
  }

  func draw(_ lines: [String]) {
    var text = "\u{1B}[H"
    for (place, line) in lines.enumerated() {
      // Cleared first: after a line as wide as the screen the last character would go.
      text += "\u{1B}[2K" + line + (place + 1 < lines.count ? "\r\n" : "")
    }
    Output.write(text + "\u{1B}[J")
  }

  /// Waits for a key or a signal.
  func wait(milliseconds: Int) -> Happening {
    var both = [
      pollfd(fd: ear, events: Int16(POLLIN), revents: 0),
      pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0),
    ]
    let count = poll(&both, hasKeys ? 2 : 1, Int32(clamping: milliseconds))
    guard count > 0 else { return .nothing }
    var byte = UInt8(0)
    if both[0].revents != 0, read(ear, &byte, 1) == 1 { return signalled(Int32(byte)) }
    guard hasKeys, both[1].revents != 0 else { return .nothing }
    let got = read(STDIN_FILENO, &byte, 1)
    if got == 1 { return .key(byte) }
    return got < 0 && (errno == EINTR || errno == EAGAIN) ? .nothing : .ended
  }

  private func signalled(_ number: Int32) -> Happening {
    switch number {
    case SIGWINCH: return .resized
    case SIGTSTP:
      // The shell's own screen while we are stopped.
      leave()
      kill(getpid(), SIGSTOP)
      enter()
      return .resized
    case SIGCONT: return .resized
    default: return .ended
    }
  }

  private static func handle(_ number: Int32, _ handler: @escaping @convention(c) (Int32) -> Void) {
    var action = sigaction()
    action.__sigaction_handler.sa_handler = handler
    action.sa_flags = SA_RESTART
    sigaction(number, &action, nil)
  }
}
