import Files
import Glibc

/// An error that a command ends with: its text is for the administrator, its code is the contract of `man qwarden`.
protocol CommandFailure: Error, CustomStringConvertible {
  var exitCode: Int32 { get }
}

/// The exit codes of sysexits(3) that qwarden uses.
enum Exit {
  static let nothingMatched: Int32 = 1
  static let usage: Int32 = 64
  static let badData: Int32 = 65
  static let noQueue: Int32 = 69
  static let cannotCreate: Int32 = 73
  static let inputOutput: Int32 = 74
  static let tryAgain: Int32 = 75
  static let noPermission: Int32 = 77
  static let badPolicy: Int32 = 78
}

/// A failure of a command itself.
struct PlainFailure: CommandFailure {
  var description: String
  var exitCode: Int32

  init(_ description: String, _ exitCode: Int32) {
    self.description = description
    self.exitCode = exitCode
  }
}

extension FileError: CommandFailure {
  var exitCode: Int32 {
    if isPermission { return Exit.noPermission }
    return operation == "create" ? Exit.cannotCreate : Exit.inputOutput
  }
}
