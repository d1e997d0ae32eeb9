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
    guard let folder = try? Descriptor.open(path, .directory) else { return }
    var names: [[UInt8]] = []
    try? folder.forEachName { name, _ in names.append(Array(name)) }
    for name in names
    // A name need not be text.
    where unlinkat(folder.number, (name + [0]).map { CChar(bitPattern: $0) }, 0) != 0 {
      remove("\(path)/\(String(decoding: name, as: UTF8.self))")
    }
    rmdir(path)
  }
}
