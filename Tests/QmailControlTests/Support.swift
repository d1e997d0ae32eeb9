import Files
import Fixtures
import Foundation
import Glibc
import Mail
import Testing

@testable import QmailControl

/// A qmail home of its own for a test, with `control/` and `bin/`; removed at the end.
final class Home {
  private let folder = TemporaryFolder()
  var path: String { folder.path }
  var control: String { "\(path)/control" }
  var badmailfrom: String { "\(control)/badmailfrom" }

  init() {
    mkdir(control, 0o755)
    mkdir("\(path)/bin", 0o755)
  }

  /// The files below it that this process has open.
  var held: [String] {
    get throws {
      try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").compactMap {
        try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)")
      }.filter { $0.hasPrefix("\(path)/") }
    }
  }

  func write(_ name: String, _ bytes: [UInt8], mode: mode_t = 0o644) throws {
    let path = "\(self.path)/\(name)"
    unlink(path)
    let file = try Descriptor.open(path, [.write, .create, .truncate], mode: 0o600)
    try file.write(bytes, at: 0)
    try file.setPermissions(mode)
  }

  func write(_ name: String, _ text: String, mode: mode_t = 0o644) throws {
    try write(name, Array(text.utf8), mode: mode)
  }

  func bytes(_ name: String = "control/badmailfrom") throws -> [UInt8] {
    try Descriptor.open("\(path)/\(name)").readAll(limit: 64 << 20)
  }

  func text(_ name: String = "control/badmailfrom") throws -> String {
    String(decoding: try bytes(name), as: UTF8.self)
  }
}

let someday = Timestamp(seconds: 1_795_489_800)

func own(_ sender: String, incident: Int? = 12, reason: String = "relay-sender") -> OwnLine {
  OwnLine(sender: Address(sender), until: someday, incident: incident, reason: reason)
}
