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
    var template = Array("/tmp/qwarden-shim-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { return nil }
    let folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    library = "\(folder)/shim.so"
    guard
      (try? Self.source.write(toFile: "\(folder)/shim.c", atomically: false, encoding: .utf8))
        != nil
    else { return nil }
    let compiler = Process()
    compiler.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    compiler.arguments = [
      "cc", "-shared", "-fPIC", "-O1", "-o", library, "\(folder)/shim.c", "-ldl",
    ]
    compiler.standardError = FileHandle.nullDevice
    guard (try? compiler.run()) != nil else { return nil }
    compiler.waitUntilExit()
    guard compiler.terminationStatus == 0 else { return nil }
  }

  public struct Result {
    public var status: Int32
    public var wasKilled: Bool
    public var calls: Int
    public var output: String
  }

  /// Runs the program to its end, or until it is killed before that call.
  public func run(_ words: [String], at call: Int?, in folder: String) throws -> Result {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = words
    var environment = ProcessInfo.processInfo.environment
    environment["LD_PRELOAD"] = library
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
