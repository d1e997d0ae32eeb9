import Foundation
import Glibc

/// The built program, run to its end as from a shell.
enum BuiltProgram {
  static let path: String? = {
    let here = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    let program = here.map { ($0 as NSString).deletingLastPathComponent + "/qwarden" }
    return program.flatMap { access($0, X_OK) == 0 ? $0 : nil }
  }()

  /// Whether it can be run as a user who may read nothing of ours.
  static let canBeNobody: Bool = {
    guard geteuid() == 0, access("/usr/bin/setpriv", X_OK) == 0 else { return false }
    return (try? run(["--version"], asNobody: true).code) == 0
  }()

  /// - Parameter redirection: such as `2>&-`.
  static func run(_ words: [String], _ redirection: String = "", asNobody: Bool = false) throws
    -> (code: Int32, output: String, complaints: String)
  {
    let process = Process()
    let (output, complaints) = (Pipe(), Pipe())
    let drop = asNobody ? "/usr/bin/setpriv --reuid=65534 --regid=65534 --clear-groups " : ""
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", "exec \(drop)\"$0\" \"$@\" \(redirection)", path ?? ""] + words
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = output
    process.standardError = complaints
    try process.run()
    let (said, complained) = (
      output.fileHandleForReading.readDataToEndOfFile(),
      complaints.fileHandleForReading.readDataToEndOfFile()
    )
    process.waitUntilExit()
    return (
      process.terminationReason == .exit ? process.terminationStatus : -1,
      String(decoding: said, as: UTF8.self), String(decoding: complained, as: UTF8.self)
    )
  }
}
