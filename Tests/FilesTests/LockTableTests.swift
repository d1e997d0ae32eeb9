import Fixtures
import Glibc
import Testing

@testable import Files

@Suite struct LockTableTests {
  @Test("a lock on btrfs, where stat(2) names the subvolume and the kernel's table the filesystem")
  func subvolume() throws {
    var file = try FileStatus.of("/")
    file.inode = 257
    file.device = 41
    let table = Array("1: FLOCK  ADVISORY  WRITE 8181 00:27:257 0 EOF\n".utf8)
    #expect(LockTable.holders(of: file, in: table) { .init(major: 0, minor: 39) } == [8181])
    #expect(LockTable.holders(of: file, in: table) { .init(major: 0, minor: 40) } == [])
    file.device = 39
    #expect(LockTable.holders(of: file, in: table) { nil } == [8181])
  }

  @Test("a file's lock is found by its path, and its filesystem's device where it is mounted")
  func path() throws {
    let folder = TemporaryFolder()
    let path = "\(folder.path)/lock"
    let lock = try FileLock.take(path)
    #expect(try LockTable.holders(of: path) == [getpid()])
    _ = consume lock
    #expect(try LockTable.isLocked(path) == false)
    #expect(LockTable.filesystem(of: path) != nil)
    // It has no subvolumes.
    #expect(
      LockTable.filesystem(of: "/proc/x") == .init(try FileStatus.of("/proc").device))
    #expect(throws: FileError.self) { try LockTable.isLocked("\(path)-none") }
  }
}
