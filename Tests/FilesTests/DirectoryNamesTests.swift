import Files
import Fixtures
import Glibc
import Testing

@Suite("Listing a directory")
struct DirectoryNamesTests {
  @Test("each name comes once with its type and inode, dots left out")
  func items() throws {
    let place = TemporaryFolder()
    let folder = place.path
    mkdir("\(folder)/inner", 0o755)
    close(open("\(folder)/12", O_CREAT | O_WRONLY, 0o600))
    close(open("\(folder)/.hidden", O_CREAT | O_WRONLY, 0o600))
    let directory = try Descriptor.open(folder, .directory)
    var inodes: [String: UInt64] = [:]
    var directories: [String] = []
    try directory.forEachItem { item in
      let name = String(decoding: item.name, as: UTF8.self)
      inodes[name] = item.inode
      if item.isDirectory { directories.append(name) }
    }
    #expect(inodes.keys.sorted() == [".hidden", "12", "inner"])
    #expect(directories == ["inner"])
    #expect(try inodes["12"] == directory.status(of: "12").inode)
    #expect(try directory.names().count == 3)
  }

  @Test(
    "queue numbers are plain decimal numbers",
    arguments: [
      ("0", 0), ("1412638", 1_412_638), ("18446744073709551615", UInt64.max),
      ("18446744073709551616", nil), ("", nil), ("01", nil), ("-1", nil), ("1a", nil), (" 1", nil),
      ("99999999999999999999999", nil),
    ] as [(String, UInt64?)])
  func numbers(_ text: String, _ value: UInt64?) {
    let bytes = Array(text.utf8)
    #expect(bytes.withUnsafeBytes { $0.queueNumber } == value)
  }
}
