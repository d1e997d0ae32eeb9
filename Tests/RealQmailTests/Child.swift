import CLinux
import Files
import Glibc

/// A program started for a test: without a shell, with the environment given and no descriptor but its first three.
struct Child {
  let pid: pid_t

  /// - Parameters:
  ///   - user: run as this user, by setpriv(1); nil: as the test itself.
  ///   - input, output: its descriptors 0 and 1; `/dev/null` when nil.
  init(
    _ arguments: [String], as user: SystemUser? = nil, environment: [String: String] = [:],
    input: Int32? = nil, output: Int32? = nil
  ) throws {
    var words = arguments
    if let user {
      words =
        [SystemUser.setpriv, "--reuid=\(user.uid)", "--regid=\(user.gid)", "--clear-groups"] + words
    }
    var actions = posix_spawn_file_actions_t()
    var attributes = posix_spawnattr_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawnattr_init(&attributes)
    defer {
      posix_spawn_file_actions_destroy(&actions)
      posix_spawnattr_destroy(&attributes)
    }
    // By way of high numbers, so that no dup2 overwrites the next one's source.
    for (given, own) in [(input, Int32(0)), (output, Int32(1))] {
      if let given {
        posix_spawn_file_actions_adddup2(&actions, given, own + 400)
      } else {
        posix_spawn_file_actions_addopen(&actions, own + 400, "/dev/null", O_RDWR, 0)
      }
    }
    for own in Int32(0)...1 { posix_spawn_file_actions_adddup2(&actions, own + 400, own) }
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
    _ = clinux_spawn_close_from(&actions, 3)
    var none = sigset_t()
    var all = sigset_t()
    sigemptyset(&none)
    sigfillset(&all)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setsigdefault(&attributes, &all)
    posix_spawnattr_setpgroup(&attributes, 0)
    posix_spawnattr_setflags(
      &attributes,
      Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
    let argv = words.map { strdup($0) } + [nil]
    let envp = environment.map { strdup("\($0)=\($1)") } + [nil]
    defer { for word in argv + envp { free(word) } }
    var pid: pid_t = 0
    let code = posix_spawn(&pid, words[0], &actions, &attributes, argv, envp)
    guard code == 0 else { throw FileError("start", words[0], code: code) }
    self.pid = pid
  }

  /// Its wait(2) status; nil when it still runs after so many seconds. To be asked until it is not nil, and never again.
  func status(within seconds: Double) -> Int32? {
    var status: Int32 = 0
    let end = WallClock.monotonic() + Int64(seconds * 1e9)
    while true {
      let found = waitpid(pid, &status, WNOHANG)
      if found == pid { return status }
      if found < 0, errno != EINTR { return -1 }
      if WallClock.monotonic() > end { return nil }
      usleep(1000)
    }
  }

  /// Ends it: SIGTERM, and when that does not help SIGKILL to it and to what it has started.
  func end(within seconds: Double) {
    kill(pid, SIGTERM)
    if status(within: seconds) != nil { return }
    kill(-pid, SIGKILL)
    _ = status(within: 5)
  }

  /// Runs a program to its end and returns what it printed.
  static func output(of arguments: [String]) throws -> [UInt8] {
    let file = try Scratch.file([])
    let child = try Child(arguments, output: file.number)
    guard let status = child.status(within: 20) else {
      child.end(within: 1)
      throw FileError("wait for", arguments[0], code: ETIMEDOUT)
    }
    guard status == 0 else {
      throw FileError("run", arguments[0], code: EIO, remedy: "its wait status is \(status)")
    }
    return try file.readAll(limit: 1 << 24)
  }
}

/// A user of this machine.
struct SystemUser {
  var uid: uid_t
  var gid: gid_t

  static let setpriv = "/usr/bin/setpriv"

  static func named(_ name: String) -> SystemUser? {
    var entry = passwd()
    var found: UnsafeMutablePointer<passwd>?
    var text = [CChar](repeating: 0, count: 16_384)
    guard getpwnam_r(name, &entry, &text, text.count, &found) == 0, found != nil else { return nil }
    return SystemUser(uid: entry.pw_uid, gid: entry.pw_gid)
  }
}

/// Files without a name.
enum Scratch {
  /// A nameless file with these bytes, to be read from its start.
  static func file(_ bytes: [UInt8]) throws -> Descriptor {
    let path = "/tmp/qwarden-scratch-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
    let file = try Descriptor.open(path, [.readWrite, .create, .exclusive])
    unlink(path)
    try file.write(bytes, at: 0)
    return file
  }
}
