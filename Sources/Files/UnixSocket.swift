import Glibc

/// Unix sockets in the filesystem, for talk between processes of this machine.
public enum UnixSocket {
  /// Binds `path` (mode 0600 from its first moment) and listens there, not blocking.
  ///
  /// What a crashed process left at `path` is replaced. A socket that somebody serves, and anything that is no socket, stays.
  public static func listen(at path: String, backlog: Int32 = 16) throws(FileError) -> Descriptor {
    let socket = try make(path)
    // Linux gives the bound file the mode that its socket has, cut by the umask: no moment with more.
    guard fchmod(socket.number, 0o600) == 0 else { throw FileError("create", path) }
    if bindAddress(socket, path) != 0 {
      guard errno == EADDRINUSE else { throw FileError("create", path) }
      try removeStale(path)
      guard bindAddress(socket, path) == 0 else { throw FileError("create", path) }
    }
    guard Glibc.listen(socket.number, backlog) == 0 else { throw FileError("listen on", path) }
    return socket
  }

  /// Connects to whoever listens at `path`. Reads and writes fail with `EAGAIN` after `patience`.
  public static func connect(to path: String, patience: Duration) throws(FileError) -> Descriptor {
    let socket = try make(path)
    // Not waiting: somebody who does not accept would hold us here.
    guard connectAddress(socket, path) == 0 else { throw FileError("connect to", path) }
    wait(socket, patience)
    return socket
  }

  /// Binds `path`, which must be free, for datagrams, as a service manager does for notifications. Reads do not wait, or at most `patience`.
  public static func receiver(at path: String, patience: Duration? = nil) throws(FileError)
    -> Descriptor
  {
    let socket = try make(path, SOCK_DGRAM)
    guard bindAddress(socket, path) == 0 else { throw FileError("create", path) }
    if let patience { wait(socket, patience) }
    return socket
  }

  private static func wait(_ socket: borrowing Descriptor, _ patience: Duration) {
    _ = fcntl(socket.number, F_SETFL, fcntl(socket.number, F_GETFL) & ~O_NONBLOCK)
    let seconds = patience.components.seconds
    var limit = timeval(
      tv_sec: Int(seconds),
      tv_usec: Int(patience.components.attoseconds / 1_000_000_000_000))
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(
        socket.number, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
  }

  /// Sends all bytes.
  public static func send(_ bytes: [UInt8], to socket: borrowing Descriptor) throws(FileError) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let sent = rest.withUnsafeBytes {
        Glibc.send(socket.number, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      if sent < 0, errno == EINTR { continue }
      guard sent >= 0 else { throw FileError("send to", socket.path) }
      rest = rest.dropFirst(sent)
    }
  }

  /// Everything until the other side closes, or has sent `end`.
  /// - Throws: `EFBIG` for more than `limit` bytes.
  public static func receive(
    from socket: borrowing Descriptor, until end: [UInt8]? = nil, limit: Int
  ) throws(FileError) -> [UInt8] {
    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = recv(socket.number, &piece, piece.count, 0)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw FileError("hear from", socket.path) }
      if count == 0 { return bytes }
      bytes += piece[..<count]
      if let end, bytes.suffix(end.count).elementsEqual(end) { return bytes }
      if bytes.count > limit { throw FileError("hear from", socket.path, code: EFBIG) }
    }
  }

  /// The next client of a listening socket, not blocking; nil when none waits or it has gone again.
  public static func accept(_ listener: borrowing Descriptor) throws(FileError) -> Descriptor? {
    // accept4(2) is not exported, and there is no exec(2) between these.
    let number = Glibc.accept(listener.number, nil, nil)
    if number >= 0 {
      _ = fcntl(number, F_SETFD, FD_CLOEXEC)
      _ = fcntl(number, F_SETFL, O_NONBLOCK)
      return Descriptor(owning: number, path: listener.path)
    }
    switch errno {
    case EAGAIN, EINTR, ECONNABORTED: return nil
    default: throw FileError("accept on", listener.path)
    }
  }

  private static func removeStale(_ path: String) throws(FileError) {
    let status = try FileStatus.of(path)
    guard status.mode & S_IFMT == S_IFSOCK else {
      throw FileError("create", path, code: EEXIST, remedy: "it is no socket; move it away")
    }
    let probe = try make(path)
    if connectAddress(probe, path) != 0, errno == ECONNREFUSED {
      guard unlink(path) == 0 else { throw FileError("remove", path) }
      return
    }
    throw FileError("create", path, code: EADDRINUSE, remedy: "another process serves it")
  }

  private static func make(_ path: String, _ type: __socket_type = SOCK_STREAM)
    throws(FileError) -> Descriptor
  {
    let kind = Int32(type.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    let number = socket(AF_UNIX, kind, 0)
    guard number >= 0 else { throw FileError("create", path) }
    return Descriptor(owning: number, path: path)
  }

  private static func bindAddress(_ socket: borrowing Descriptor, _ path: String) -> Int32 {
    let number = socket.number
    return withAddress(path) { bind(number, $0, $1) }
  }

  private static func connectAddress(_ socket: borrowing Descriptor, _ path: String) -> Int32 {
    let number = socket.number
    return withAddress(path) { Glibc.connect(number, $0, $1) }
  }

  /// An address holds 107 bytes. A longer path is reached through a descriptor of its directory.
  private static func withAddress(
    _ path: String, _ call: (UnsafePointer<sockaddr>, socklen_t) -> Int32
  ) -> Int32 {
    var address = sockaddr_un()
    let room = MemoryLayout.size(ofValue: address.sun_path) - 1
    if path.utf8.count > room, !path.hasPrefix("/proc/self/fd/") {
      let cut = path.lastIndex(of: "/") ?? path.startIndex
      guard let folder = try? Descriptor.open(String(path[..<cut]), [.directory, .following])
      else { return -1 }
      let code = withAddress("/proc/self/fd/\(folder.number)\(path[cut...])", call)
      // Closing the directory must not change what the call said.
      let error = errno
      withExtendedLifetime(folder) {}
      errno = error
      return code
    }
    guard path.utf8.count <= room, !path.utf8.contains(0) else {
      errno = ENAMETOOLONG
      return -1
    }
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        call($0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
  }
}
