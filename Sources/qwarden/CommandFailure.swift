import Files
import Glibc

/// An error that a command ends with: its text is for the administrator, its code is the contract of `man qwarden`.
protocol CommandFailure: Error, CustomStringConvertible {
  var exitCode: Int32 { get }
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

extension FileError: CommandFailure {}
