import ArgumentParser
import Files
import Glibc
import Mail
import Watchdog

struct Top: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "top",
    abstract: "Watch the queue live: counts, rates, storms, and who sends most.",
    discussion: """
      The figures come from the running daemon. Senders and sources are those of the last detection.window (5 minutes as shipped), with the \
      share of their finished recipients that failed for good; one that a storm goes on about bears its number. The bars are the queue's \
      length, the newest at the right. q ends it, s orders by messages, failed or waiting, the space bar holds the picture still. Off a \
      terminal it prints one picture and ends. Exits 69 when no daemon answers.
      """)

  @Flag(help: "Print one picture as text and end.")
  var once = false
  @OptionGroup var places: Places
  @OptionGroup var color: ColorOption
  @OptionGroup var format: JSONOption

  private static let rows = 100

  func run() throws {
    let daemon = Daemon(state: places.state)
    if format.json {
      for line in try daemon.lines(.top(rows: Self.rows)) {
        Output.line(String(decoding: line, as: UTF8.self))
      }
      return
    }
    let first: TopReport = try daemon.ask(.top(rows: Self.rows))
    var frame = TopFrame()
    frame.style = color.style
    frame.isUnicode = Self.isUnicode
    guard !once, Output.isTerminal, let screen = TopScreen() else {
      frame.width = TopScreen.size?.width ?? 80
      for line in frame.lines(first) { Output.line(line) }
      return
    }
    show(first, frame, on: screen)
  }

  private func show(_ first: TopReport, _ start: TopFrame, on screen: TopScreen) {
    // A daemon that is slow to answer must not keep the keys waiting for long.
    let daemon = Daemon(state: places.state, patience: .seconds(2))
    var frame = start
    var report = first
    var asked = WallClock.monotonic()
    screen.enter()
    defer { screen.leave() }
    while true {
      (frame.width, frame.height) = TopScreen.size ?? (80, 24)
      screen.draw(frame.lines(report))
      let due = asked + 1_000_000_000
      switch screen.wait(milliseconds: Int(max(0, due - WallClock.monotonic()) / 1_000_000)) {
      case .ended, .key(UInt8(ascii: "q")), .key(UInt8(ascii: "Q")), .key(3): return
      case .key(UInt8(ascii: " ")): frame.isFrozen.toggle()
      case .key(UInt8(ascii: "s")):
        let orders = TopFrame.Order.allCases
        let next = (orders.firstIndex(of: frame.order) ?? 0) + 1
        frame.order = orders[next % orders.count]
      case .key, .resized, .nothing: break
      }
      guard WallClock.monotonic() >= due else { continue }
      asked = WallClock.monotonic()
      if frame.isFrozen { continue }
      do {
        report = try daemon.ask(.top(rows: Self.rows))
        frame.warning = nil
      } catch {
        let age = Readable.age(WallClock.now().seconds - report.time)
        frame.warning = "no answer from the daemon since \(age): \(error.description)"
      }
    }
  }

  /// Whether this terminal shows letters beyond ASCII (locale(7): the first of these that is set counts).
  private static var isUnicode: Bool {
    for name in ["LC_ALL", "LC_CTYPE", "LANG"] {
      if let value = getenv(name), value.pointee != 0 {
        let text = String(cString: value).lowercased()
        return text.hasSuffix("utf-8") || text.hasSuffix("utf8")
      }
    }
    return false
  }
}

extension Daemon.NoAnswer: CommandFailure {
  var exitCode: Int32 { kind == .forbidden ? Exit.noPermission : Exit.noQueue }
}
