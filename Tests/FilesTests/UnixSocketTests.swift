import Files
import Fixtures
import Foundation
import Glibc
import Testing

@Suite struct UnixSocketTests {
  /// A directory of its own, gone at the end.
  private func inFolder(_ name: String = "", _ body: (String) throws -> Void) throws {
    let top = TemporaryFolder()
    let folder = name.isEmpty ? top.path : "\(top.path)/\(name)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    try body("\(folder)/socket")
  }

  @Test("only its owner may connect, whatever the umask says")
  func mode() throws {
    try inFolder { path in
      let listener = try UnixSocket.listen(at: path)
      #expect(try FileStatus.of(path).permissions == 0o600)
      _ = try UnixSocket.connect(to: path, patience: .seconds(1))
      withExtendedLifetime(listener) {}
    }
  }

  @Test("a path longer than a socket address is served and reached all the same")
  func longPath() throws {
    try inFolder(String(repeating: "long/", count: 40)) { path in
      let listener = try UnixSocket.listen(at: path)
      let client = try UnixSocket.connect(to: path, patience: .seconds(1))
      let server = try UnixSocket.accept(listener)
      let isServed = server != nil
      #expect(isServed)
      #expect(try FileStatus.of(path).permissions == 0o600)
      withExtendedLifetime(client) {}
    }
  }

  @Test("what a crashed process left is replaced")
  func stale() throws {
    try inFolder { path in
      do { _ = try UnixSocket.listen(at: path) }
      let listener = try UnixSocket.listen(at: path)
      _ = try UnixSocket.connect(to: path, patience: .seconds(1))
      withExtendedLifetime(listener) {}
    }
  }

  @Test("a socket that is served is not taken over, also when nobody accepts there")
  func live() throws {
    try inFolder { path in
      let listener = try UnixSocket.listen(at: path, backlog: 0)
      let first = try UnixSocket.connect(to: path, patience: .seconds(1))
      for _ in 0..<2 {
        let error = #expect(throws: FileError.self) { _ = try UnixSocket.listen(at: path) }
        #expect(error?.code == EADDRINUSE)
        #expect(error?.description.contains("another process serves it") == true)
      }
      withExtendedLifetime(listener) { withExtendedLifetime(first) {} }
    }
  }

  @Test("a file that is no socket stays as it is")
  func notASocket() throws {
    try inFolder { path in
      #expect(FileManager.default.createFile(atPath: path, contents: Data("mine".utf8)))
      let error = #expect(throws: FileError.self) { _ = try UnixSocket.listen(at: path) }
      #expect(error?.description.contains("no socket") == true)
      let left = try String(contentsOfFile: path, encoding: .utf8)
      #expect(left == "mine")
    }
  }
}
