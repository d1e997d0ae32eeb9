import Glibc

/// Datagrams to Unix sockets, sent without ever waiting.
enum Datagram {
  /// An open socket that is bound to nothing; one serves for all that is sent. Closed when nobody holds it any more.
  final class Socket: Sendable {
    private let descriptor: Int32

    init() {
      descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// - Parameter name: a path, or `@` and an abstract name.
    /// - Returns: 0, or an `errno` value: `EAGAIN` where nobody reads, `ENOENT` and `ECONNREFUSED` where nobody listens.
    func send(_ bytes: [UInt8], to name: String) -> Int32 {
      guard descriptor >= 0 else { return EMFILE }
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      var path = Array(name.utf8)
      let isAbstract = path.first == UInt8(ascii: "@")
      guard isAbstract || path.first == UInt8(ascii: "/") else { return EAFNOSUPPORT }
      // One byte is left for the NUL that ends a path.
      guard path.count < MemoryLayout.size(ofValue: address.sun_path) else { return ENAMETOOLONG }
      if isAbstract { path[0] = 0 }
      withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
      let offset = MemoryLayout<sockaddr_un>.offset(of: \.sun_path) ?? 2
      let length = socklen_t(offset + path.count + (isAbstract ? 0 : 1))
      let flags = Int32(MSG_NOSIGNAL | MSG_DONTWAIT)
      let sent = withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          sendto(descriptor, bytes, bytes.count, flags, $0, length)
        }
      }
      return sent == bytes.count ? 0 : errno
    }
  }
}
