import Files
import Glibc
import Mail

/// `control/` as qmail-send and qmail-smtpd read it (control.c, constmap.c).
struct SimulatedControls {
  var me = "mx.test"
  var locals: Set<[UInt8]> = []
  var virtualDomains: [[UInt8]: [UInt8]] = [:]
  var lifetime = 604_800
  var concurrency: [Channel: Int] = [.local: 10, .remote: 20]
  var bounceFrom = "MAILER-DAEMON"
  var bounceHost = "mx.test"
  var doubleBounceTo = "postmaster@mx.test"
  var hostWithoutAt = "mx.test"

  init(reading qmail: String) throws(FileError) {
    func line(_ name: String) throws(FileError) -> String? {
      try Self.line("\(qmail)/control/\(name)")
    }
    func number(_ name: String, _ usual: Int) throws(FileError) -> Int {
      try line(name).flatMap { Int($0.prefix { $0.isASCII && $0.isNumber }) } ?? usual
    }
    guard let me = try line("me") else {
      throw FileError("read", "\(qmail)/control/me", remedy: "qmail-send does not start without")
    }
    self.me = me
    lifetime = try number("queuelifetime", 604_800)
    concurrency = [
      .local: try number("concurrencylocal", 10), .remote: try number("concurrencyremote", 20),
    ]
    hostWithoutAt = try line("envnoathost") ?? me
    bounceFrom = try line("bouncefrom") ?? "MAILER-DAEMON"
    bounceHost = try line("bouncehost") ?? me
    doubleBounceTo =
      (try line("doublebounceto") ?? "postmaster") + "@" + (try line("doublebouncehost") ?? me)
    let folder = "\(qmail)/control"
    let names = try Self.lines("\(folder)/locals") ?? [Array(me.utf8)]
    let virtual = try Self.lines("\(folder)/virtualdomains") ?? []
    locals = Set(names.map { $0.map(\.asciiLowercased) })
    virtualDomains = [:]
    for line in virtual {
      guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { continue }
      virtualDomains[line[..<colon].map(\.asciiLowercased)] = Array(line[(colon + 1)...])
    }
  }

  /// qmail-send.c `rewrite`: the channel, and the address as it is written into its file.
  func route(_ address: Address) -> (Channel, Address) {
    let bytes =
      address.bytes.contains(UInt8(ascii: "@"))
      ? address.bytes : address.bytes + [UInt8(ascii: "@")] + Array(hostWithoutAt.utf8)
    let at = bytes.lastIndex(of: UInt8(ascii: "@")) ?? bytes.endIndex
    let lowered = bytes.map(\.asciiLowercased)
    if locals.contains(Array(lowered[(at + 1)...])) { return (.local, Address(bytes)) }
    let starts = [0] + (at + 1..<bytes.count).filter { $0 == at + 1 || bytes[$0] == 46 }
    for start in starts + [bytes.count] {
      guard let prepend = virtualDomains[Array(lowered[start...])] else { continue }
      if prepend.isEmpty { break }
      return (.local, Address(prepend + [UInt8(ascii: "-")] + bytes))
    }
    return (.remote, Address(bytes))
  }

  /// qmail-send.c `stripvdomprepend`: undoes the prepend for the text of a bounce.
  func withoutPrepend(_ recipient: Address) -> Address {
    let bytes = recipient.bytes
    guard let at = bytes.firstIndex(of: UInt8(ascii: "@")) else { return recipient }
    let domain = bytes[(at + 1)...].map(\.asciiLowercased)
    for start in 0...domain.count where start == 0 || start == domain.count || domain[start] == 46 {
      guard let prepend = virtualDomains[Array(domain[start...])] else { continue }
      let head = prepend + [UInt8(ascii: "-")]
      return prepend.isEmpty || !bytes.starts(with: head)
        ? recipient : Address(bytes.dropFirst(head.count))
    }
    return recipient
  }

  /// control.c `control_readline`: the first line without trailing blanks and tabs; nil when the file is missing.
  static func line(_ path: String) throws(FileError) -> String? {
    guard let bytes = try bytes(path) else { return nil }
    return Text.decode(trimmed(bytes.prefix { $0 != UInt8(ascii: "\n") }))
  }

  /// control.c `control_readfile`: lines without trailing blanks and tabs, no empty ones, no `#` comments; nil when missing.
  /// A NUL splits a line in two, because constmap sees the lines joined by NUL.
  static func lines(_ path: String) throws(FileError) -> [[UInt8]]? {
    guard let bytes = try bytes(path) else { return nil }
    return bytes.split(separator: UInt8(ascii: "\n")).map { trimmed($0) }
      .filter { ($0.first ?? 0) != 0 && $0.first != UInt8(ascii: "#") }
      .flatMap { $0.split(separator: 0, omittingEmptySubsequences: false).map(Array.init) }
  }

  private static func trimmed(_ line: some BidirectionalCollection<UInt8>) -> [UInt8] {
    var line = Array(line)
    while let last = line.last, last == 32 || last == 9 { line.removeLast() }
    return line
  }

  private static func bytes(_ path: String) throws(FileError) -> [UInt8]? {
    do {
      return try Descriptor.open(path, [.read, .following]).readAll(limit: 1 << 30)
    } catch {
      if error.code == ENOENT { return nil }
      throw error
    }
  }
}
