import Files
import Glibc
import Testing

/// A session with the real qmail-smtpd, which tcpserver would have started: it speaks on its descriptors 0 and 1 and learns of its client from the
/// environment (tcp-environ(5)).
final class SMTPSession {
  private let child: Child
  private let socket: Descriptor
  private let line: Line

  /// - Parameters:
  ///   - user: the name that the client has authenticated with.
  ///   - mayRelay: RELAYCLIENT is set.
  init(_ qmail: RealQmail, client: String, user: String? = nil, mayRelay: Bool) throws {
    var environment = ["PROTO": "TCP", "TCPREMOTEIP": client, "TCPLOCALHOST": qmail.me]
    if let user { environment["TCPREMOTEINFO"] = user }
    if mayRelay { environment["RELAYCLIENT"] = "" }
    var child: Child?
    socket = try Child.connected {
      child = try Child(
        ["\(RealQmail.home)/bin/qmail-smtpd"], as: qmail.smtpUser, environment: environment,
        input: $0, output: $0)
    }
    self.child = try #require(child)
    line = Line(socket.number)
    _ = reply()
    _ = command("HELO client.example")
  }

  deinit {
    line.say("QUIT")
    shutdown(socket.number, Int32(SHUT_RDWR))
    if child.status(within: 5) == nil { child.end(within: 1) }
  }

  /// Offers a message.
  /// - Returns: the code of each RCPT, and that of the message itself, or nil when nobody was accepted.
  func offer(_ message: [UInt8], from sender: String, to recipients: [String])
    -> (recipients: [Int], message: Int?)
  {
    _ = command("MAIL FROM:<\(sender)>")
    let codes = recipients.map { command("RCPT TO:<\($0)>") }
    guard codes.contains(250), command("DATA") == 354 else { return (codes, nil) }
    var wire: [UInt8] = []
    var isStart = true
    for byte in message {
      if isStart, byte == UInt8(ascii: ".") { wire.append(byte) }
      if byte == 10 { wire.append(13) }
      wire.append(byte)
      isStart = byte == 10
    }
    line.send(wire + Array(".\r\n".utf8))
    return (codes, reply())
  }

  private func command(_ text: String) -> Int {
    line.say(text)
    return reply()
  }

  /// The code of the next reply, 0 when there is none.
  private func reply() -> Int {
    while let text = line.next() {
      if text.count < 4 || text[3] != UInt8(ascii: "-") {
        return Int(String(decoding: text.prefix(3), as: UTF8.self)) ?? 0
      }
    }
    return 0
  }
}
