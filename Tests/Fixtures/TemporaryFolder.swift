import Files
import Glibc

/// A directory of its own for one test, removed with all that is in it when the test lets go of it.
public final class TemporaryFolder: Sendable {
  public let path: String

  /// Without a place to work in no test can say anything: it ends them all.
  public init() {
    do { path = try Folder.makeTemporary("qwarden-test") } catch { fatalError("\(error)") }
  }

  deinit { Self.remove(path) }

  /// Removes whatever stands there, also where the test has taken the right to look in.
  public static func remove(_ path: String) {
    guard (try? FileStatus.of(path))?.isDirectory == true else {
      unlink(path)
      return
    }
    chmod(path, 0o700)
    for name in (try? Descriptor.open(path, .directory).names()) ?? [] { remove("\(path)/\(name)") }
    rmdir(path)
  }
}
