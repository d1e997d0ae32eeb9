import Fixtures
import Glibc

/// A failed step of a test's own machinery, with errno where there is one.
struct LabError: Error, CustomStringConvertible {
  var description: String
  init(_ step: String, code: Int32 = errno) {
    description = "\(step): \(String(cString: strerror(code)))"
  }
}

/// The repository's folder, from this file's place in it.
let repository = #filePath.split(separator: "/").dropLast(3).reduce("") { "\($0)/\($1)" }

/// Makes a folder of its own, gives it to `body`, removes it.
func withTemporaryFolder<T>(_ body: (String) throws -> T) throws -> T {
  let folder = TemporaryFolder()
  return try body(folder.path)
}

func contents(of path: String) throws -> [UInt8] {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else { throw LabError(path) }
  defer { close(descriptor) }
  return drain(descriptor)
}

func text(of path: String) throws -> String {
  String(decoding: try contents(of: path), as: UTF8.self)
}

func write(_ text: String, to path: String) throws {
  let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
  guard descriptor >= 0 else { throw LabError(path) }
  defer { close(descriptor) }
  let bytes = Array(text.utf8)
  guard Glibc.write(descriptor, bytes, bytes.count) == bytes.count else { throw LabError(path) }
}

private func drain(_ descriptor: Int32) -> [UInt8] {
  var all: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 65_536)
  while true {
    let count = read(descriptor, &buffer, buffer.count)
    if count < 0 && errno == EINTR { continue }
    if count <= 0 { return all }
    all += buffer[..<count]
  }
}

/// Starts a program with a minimal environment; it inherits the calling thread's mounts.
func spawn(_ arguments: [String], output: Int32? = nil) throws -> pid_t {
  var actions = posix_spawn_file_actions_t()
  posix_spawn_file_actions_init(&actions)
  defer { posix_spawn_file_actions_destroy(&actions) }
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
  if let output {
    posix_spawn_file_actions_adddup2(&actions, output, 1)
    posix_spawn_file_actions_adddup2(&actions, output, 2)
  }
  let environment = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "SYSTEMD_COLORS=0"]
  var argv = arguments.map { strdup($0) } + [nil]
  var envp = environment.map { strdup($0) } + [nil]
  defer { for pointer in argv + envp { free(pointer) } }
  var pid: pid_t = 0
  let code = posix_spawn(&pid, arguments[0], &actions, nil, &argv, &envp)
  guard code == 0 else { throw LabError(arguments[0], code: code) }
  return pid
}

/// Runs a program to its end.
@discardableResult
func run(_ arguments: String...) throws -> (status: Int32, output: [UInt8]) {
  var ends: [Int32] = [0, 0]
  // A pair of sockets is closed on exec from the start, a pipe is not: another test's child would hold it open.
  let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
  guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else { throw LabError("socketpair") }
  defer { close(ends[0]) }
  let started = Result { try spawn(arguments, output: ends[1]) }
  close(ends[1])
  let pid = try started.get()
  let output = drain(ends[0])
  return (wait(for: pid), output)
}

@discardableResult
func wait(for pid: pid_t) -> Int32 {
  var status: Int32 = 0
  while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
  return status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
}

func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }
