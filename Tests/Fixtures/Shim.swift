import Files
import Foundation
import Glibc

/// Some lines of C between the built program and libc (LD_PRELOAD): they kill it just before its n-th call that changes something, make
/// calls fail as a file says, and set its clocks.
public final class Shim: Sendable {
  /// nil where there is no C compiler, or the program is not built.
  public static let shared = Shim()
  public let library: String
  public let program: String

  private init?() {
    guard let here = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    else { return nil }
    program = here.split(separator: "/").dropLast().map { "/" + $0 }.joined() + "/qwarden"
    guard access(program, X_OK) == 0 else { return nil }
    guard let library = Self.compile(Self.source) else { return nil }
    self.library = library
  }

  /// - Returns: the shared library's path; nil where there is no compiler.
  public static func compile(_ source: String) -> String? {
    guard let folder = try? Folder.makeTemporary("qwarden-shim"),
      (try? source.write(toFile: "\(folder)/shim.c", atomically: false, encoding: .utf8)) != nil
    else { return nil }
    let compiler = Process()
    compiler.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    compiler.arguments = [
      "cc", "-shared", "-fPIC", "-O1", "-o", "\(folder)/shim.so", "\(folder)/shim.c", "-ldl",
    ]
    compiler.standardError = FileHandle.nullDevice
    guard (try? compiler.run()) != nil else { return nil }
    compiler.waitUntilExit()
    return compiler.terminationStatus == 0 ? "\(folder)/shim.so" : nil
  }

  public struct Result {
    public var status: Int32
    public var wasKilled: Bool
    public var calls: Int
    public var output: String
  }

  /// Runs the program to its end, or until it is killed before that call.
  /// - Parameter others: further libraries between the program and libc, and what they read of the environment.
  public func run(
    _ words: [String], at call: Int?, in folder: String,
    others: (libraries: [String], environment: [String: String]) = ([], [:])
  ) throws -> Result {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = words
    var environment = ProcessInfo.processInfo.environment
    environment["LD_PRELOAD"] = ([library] + others.libraries).joined(separator: " ")
    environment.merge(others.environment) { $1 }
    environment["CRASH_COUNT"] = "\(folder)/calls"
    environment["CRASH_AT"] = call.map(String.init)
    environment["NOTIFY_SOCKET"] = nil
    process.environment = environment
    let output = "\(folder)/output"
    _ = FileManager.default.createFile(atPath: output, contents: nil)
    let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: output))
    process.standardOutput = handle
    process.standardError = handle
    process.standardInput = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    let calls = (try? String(contentsOfFile: "\(folder)/calls", encoding: .utf8)).flatMap {
      Int($0)
    }
    return Result(
      status: process.terminationStatus,
      wasKilled: process.terminationReason == .uncaughtSignal
        && process.terminationStatus == SIGKILL,
      calls: calls ?? 0, output: (try? String(contentsOfFile: output, encoding: .utf8)) ?? "")
  }
}
