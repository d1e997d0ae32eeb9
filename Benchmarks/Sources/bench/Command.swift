import Foundation

/// A program to be timed, with its arguments; what it prints is thrown away.
struct Command {
  let path: String
  let arguments: [String]

  init(_ path: String, _ arguments: String...) {
    self.path = path
    self.arguments = arguments
  }

  /// The program of this name in PATH, or nil.
  static func find(_ name: String) -> String? {
    (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
      .map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 }
  }

  func start() throws -> Process {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    return process
  }

  /// Wall time of the whole process, in seconds.
  func time() throws -> Double {
    // posix_spawn by hand: Foundation's Process takes milliseconds of its own.
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
    var words: [UnsafeMutablePointer<CChar>?] = ([path] + arguments).map { strdup($0) }
    words.append(nil)
    defer { for word in words { free(word) } }
    var pid: pid_t = 0
    let begun = now()
    let code = posix_spawn(&pid, path, &actions, nil, words, environ)
    guard code == 0 else { throw Failure("\(path): \(String(cString: strerror(code)))") }
    var status: Int32 = 0
    waitpid(pid, &status, 0)
    let seconds = now() - begun
    guard status == 0 else {
      let signal = status & 0x7F
      let why = signal == 0 ? "exit code \(status >> 8)" : "signal \(signal)"
      throw Failure("\(path) \(arguments.joined(separator: " ")) failed (\(why))")
    }
    return seconds
  }
}

struct Failure: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

func now() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

extension [Double] {
  var median: Double { isEmpty ? .nan : sorted()[count / 2] }
}
