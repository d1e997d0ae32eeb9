import Files
import Foundation
import Glibc
import Synchronization

/// The rest of the world: an SMTP server on 127.0.0.1. It answers by the last letter of the recipient's local part:
/// `z` later (451), `q` never (550), all others yes.
final class LoopbackSink: Sendable {
  /// One message that it took.
  struct Mail: Sendable {
    var sender: [UInt8]
    var recipients: [[UInt8]]
    /// Lines end in `\n`.
    var message: [UInt8]
  }

  private struct State {
    var mail: [Mail] = []
    var takesAll = false
    var connections: Set<Int32> = []
    var isClosed = false
  }

  private let socket: Int32
  private let state = Mutex(State())

  /// - Throws: when the port is in use.
  init(port: UInt16) throws {
    socket = try Self.listen(port: port)
    Thread { [self] in accept() }.start()
  }

  deinit { Glibc.close(socket) }

  var mail: [Mail] { state.withLock { $0.mail } }

  /// From now on everybody is accepted.
  func takeAll() { state.withLock { $0.takesAll = true } }

  func close() {
    state.withLock { state in
      state.isClosed = true
      for connection in state.connections { shutdown(connection, Int32(SHUT_RDWR)) }
    }
    shutdown(socket, Int32(SHUT_RDWR))
  }

  static func isFree(port: UInt16) -> Bool {
    guard let socket = try? listen(port: port) else { return false }
    Glibc.close(socket)
    return true
  }

  private static func listen(port: UInt16) throws -> Int32 {
    let number = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard number >= 0 else { throw FileError("open", "a socket") }
    var yes: Int32 = 1
    setsockopt(number, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    let bound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(number, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard bound == 0, Glibc.listen(number, 128) == 0 else {
      let error = FileError("listen on", "127.0.0.1:\(port)")
      Glibc.close(number)
      throw error
    }
    return number
  }

  private func accept() {
    while true {
      let connection = Glibc.accept(socket, nil, nil)
      if connection < 0 {
        if errno == EINTR || errno == ECONNABORTED { continue }
        return
      }
      _ = fcntl(connection, F_SETFD, FD_CLOEXEC)
      let isWanted = state.withLock { state in
        if !state.isClosed { state.connections.insert(connection) }
        return !state.isClosed
      }
      guard isWanted else {
        Glibc.close(connection)
        return
      }
      Thread { [self] in
        serve(Line(connection))
        state.withLock { state in
          state.connections.remove(connection)
          // In the lock, so that close() never shuts a stranger's number down.
          shutdown(connection, Int32(SHUT_RDWR))
          Glibc.close(connection)
        }
      }.start()
    }
  }

  private func serve(_ line: Line) {
    var sender: [UInt8] = []
    var recipients: [[UInt8]] = []
    line.say("220 sink ESMTP")
    while let command = line.next() {
      switch String(decoding: command.prefix(4), as: UTF8.self).uppercased() {
      case "MAIL":
        sender = Self.address(command)
        recipients = []
        line.say("250 ok")
      case "RCPT":
        let address = Self.address(command)
        let local = address[..<(address.lastIndex(of: UInt8(ascii: "@")) ?? address.endIndex)]
        let last = state.withLock { $0.takesAll } ? nil : local.last
        switch last {
        case UInt8(ascii: "z"): line.say("451 try again later <", address, ">")
        case UInt8(ascii: "q"): line.say("550 no such user <", address, ">")
        default:
          recipients.append(address)
          line.say("250 ok")
        }
      case "DATA":
        if recipients.isEmpty {
          line.say("503 nobody to send it to")
          continue
        }
        line.say("354 go ahead")
        var message: [UInt8] = []
        var isWhole = false
        while let text = line.next() {
          if text == [UInt8(ascii: ".")] {
            isWhole = true
            break
          }
          message += (text.first == UInt8(ascii: ".") ? text.dropFirst() : text[...]) + [10]
        }
        if !isWhole { return }
        let mail = Mail(sender: sender, recipients: recipients, message: message)
        state.withLock { $0.mail.append(mail) }
        line.say("250 ok")
      case "QUIT":
        line.say("221 bye")
        return
      default: line.say("250 ok")
      }
    }
  }

  /// What stands between `<` and the last `>`, without the quotes that qmail-remote puts around odd local parts (quote.c).
  private static func address(_ command: [UInt8]) -> [UInt8] {
    guard let start = command.firstIndex(of: UInt8(ascii: "<")),
      let end = command.lastIndex(of: UInt8(ascii: ">")), start < end
    else { return [] }
    let address = command[(start + 1)..<end]
    guard address.first == UInt8(ascii: "\"") else { return Array(address) }
    var plain: [UInt8] = []
    var rest = address.dropFirst()
    while let byte = rest.popFirst(), byte != UInt8(ascii: "\"") {
      if byte == UInt8(ascii: "\\"), let escaped = rest.popFirst() {
        plain.append(escaped)
      } else {
        plain.append(byte)
      }
    }
    return plain + rest
  }
}

/// The lines of an SMTP conversation, on either side of it. The descriptor stays its owner's.
final class Line {
  private let number: Int32
  private var buffer: [UInt8] = []

  init(_ number: Int32) {
    self.number = number
    var limit = timeval(tv_sec: 20, tv_usec: 0)
    setsockopt(number, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
  }

  /// The next line without its CR LF; nil at the end, and after 20 silent seconds.
  func next() -> [UInt8]? {
    while true {
      if let end = buffer.firstIndex(of: 10) {
        var line = Array(buffer[..<end])
        buffer.removeSubrange(...end)
        if line.last == 13 { line.removeLast() }
        return line
      }
      var piece = [UInt8](repeating: 0, count: 16_384)
      let count = recv(number, &piece, piece.count, 0)
      if count < 0, errno == EINTR { continue }
      if count <= 0 { return nil }
      buffer += piece.prefix(count)
    }
  }

  func say(_ text: String, _ bytes: [UInt8] = [], _ end: String = "") {
    send(Array(text.utf8) + bytes + Array(end.utf8) + [13, 10])
  }

  func send(_ bytes: [UInt8]) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let sent = rest.withUnsafeBytes {
        Glibc.send(number, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      if sent < 0, errno == EINTR { continue }
      if sent <= 0 { return }
      rest = rest.dropFirst(sent)
    }
  }
}
