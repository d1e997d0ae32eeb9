import Files
import Glibc
import Mail

/// Standard output and standard error of the commands.
///
/// A closed pipe (`qwarden list | head`) ends the program quietly by SIGPIPE, as it does other filters.
enum Output {
  /// Collects output and writes it in large pieces.
  struct Buffer: ~Copyable {
    private var bytes: [UInt8] = []

    init() { bytes.reserveCapacity(1 << 17) }

    mutating func append(_ piece: some Sequence<UInt8>) {
      bytes.append(contentsOf: piece)
      if bytes.count >= 1 << 16 { flush() }
    }

    mutating func line(_ text: String) {
      append(text.utf8)
      append(CollectionOfOne(UInt8(ascii: "\n")))
    }

    mutating func line(_ object: JSONLine) {
      append(object.closed)
      append(CollectionOfOne(UInt8(ascii: "\n")))
    }

    mutating func flush() {
      Output.write(bytes)
      bytes.removeAll(keepingCapacity: true)
    }

    deinit { Output.write(bytes) }
  }

  static func line(_ text: String) { write(text + "\n") }

  static func complain(_ text: String) { write("qwarden: \(text)\n", to: STDERR_FILENO) }

  /// A standard stream that is closed would be the next file to be opened, and output would go into that. Writing to these fails.
  static func holdStandardStreams() {
    for number in STDIN_FILENO...STDERR_FILENO where fcntl(number, F_GETFD) < 0 {
      _ = open("/dev/null", O_RDONLY)
    }
  }

  /// A person reads it.
  static var isTerminal: Bool { isatty(STDOUT_FILENO) == 1 }

  static func write(_ text: String, to descriptor: Int32 = STDOUT_FILENO) {
    write(Array(text.utf8), to: descriptor)
  }

  static func write(_ bytes: [UInt8], to descriptor: Int32 = STDOUT_FILENO) {
    var done = 0
    while done < bytes.count {
      let n = bytes.withUnsafeBytes {
        Glibc.write(descriptor, $0.baseAddress.map { $0 + done }, $0.count - done)
      }
      if n < 0 {
        if errno == EINTR { continue }
        // The exit code says it all the same.
        if descriptor == STDERR_FILENO { return }
        // Standard output is gone or full: say so where it can be said, and fail.
        let why = String(cString: strerror(errno))
        let text = Array("qwarden: cannot write the output: \(why)\n".utf8)
        _ = text.withUnsafeBytes { Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
        Glibc._exit(Exit.inputOutput)
      }
      done += n
    }
  }
}

/// Figures as an administrator reads them.
enum Readable {
  /// `45s`, `12m`, `3h`, `5d`.
  static func age(_ seconds: Double) -> String {
    switch max(0, seconds) {
    case ..<90: "\(Int(max(0, seconds)))s"
    case ..<5400: "\(Int(seconds / 60))m"
    case ..<172_800: "\(Int(seconds / 3600))h"
    default: "\(Int(seconds / 86_400))d"
    }
  }

  /// `812`, `1.7k`, `24k`, `3.1M`.
  static func size(_ bytes: Int64) -> String {
    func scaled(_ value: Double, _ unit: String) -> String {
      value < 9.95
        ? "\(Int(value * 10 + 0.5) / 10).\(Int(value * 10 + 0.5) % 10)\(unit)"
        : "\(Int(value + 0.5))\(unit)"
    }
    let value = Double(bytes)
    if value < 1000 { return String(bytes) }
    if value < 1e6 { return scaled(value / 1e3, "k") }
    if value < 1e9 { return scaled(value / 1e6, "M") }
    return scaled(value / 1e9, "G")
  }

  /// `1 message`, `2 messages`.
  static func count(_ number: Int, _ what: String) -> String {
    "\(number) \(what)\(number == 1 ? "" : "s")"
  }

  static func pad(_ text: String, _ width: Int) -> String {
    TextWidth.of(text) >= width
      ? text : text + String(repeating: " ", count: width - TextWidth.of(text))
  }

  static func right(_ text: String, _ width: Int) -> String {
    TextWidth.of(text) >= width
      ? text : String(repeating: " ", count: width - TextWidth.of(text)) + text
  }

  /// A column to the right of another: at least a blank stands between them.
  static func column(_ text: String, _ width: Int) -> String { " " + right(text, width - 1) }

  /// `alice@127.66.6.6`, `uid 33`, `bounce of …`: a source in a few characters.
  static func source(_ source: Source) -> String {
    switch source {
    case .network(let client, _, let user):
      Escaping.terminal(user.map { "\($0)@\(client)" } ?? client)
    case .uid(let uid): "uid \(uid)"
    case .alias: "alias"
    case .unknown: "unknown"
    case .bounce(let original):
      original.map { "bounce to <\($0.sender)>, from \(Self.source($0.source))" } ?? "bounce"
    }
  }
}
