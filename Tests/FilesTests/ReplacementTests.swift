import Files
import Fixtures
import Foundation
import Testing

@Suite("Replacing a file")
struct ReplacementTests {
  private enum Refusal: Error { case changed }

  /// One file, `f`, in a folder of its own, and what is in the folder afterwards, by name.
  private func replacing(
    existing: Bool = true, lastLook: (_ path: String) -> Void = { _ in },
    secondLook: (_ path: String, _ isTheOld: Bool) throws(Refusal) -> Void
  ) throws -> (isReplaced: Bool, files: [String: String]) {
    let place = TemporaryFolder()
    let folder = place.path
    let path = "\(folder)/f"
    if existing { try Data("old".utf8).write(to: URL(fileURLWithPath: path)) }
    let old = try? FileStatus.of(path).inode
    var isReplaced = true
    do throws(ReplacementError<Refusal>) {
      try Replacement.write(
        Array("new".utf8), to: path, mode: 0o600,
        lastLook: { () throws(Refusal) in lastLook(path) },
        secondLook: { displaced throws(Refusal) in try secondLook(path, displaced.inode == old) })
    } catch {
      guard case .refused = error else { throw error }
      isReplaced = false
    }
    var files: [String: String] = [:]
    for name in try FileManager.default.contentsOfDirectory(atPath: folder) {
      files[name] = try String(contentsOfFile: "\(folder)/\(name)", encoding: .utf8)
    }
    return (isReplaced, files)
  }

  /// As an editor saves: another file takes the name.
  private func save(_ path: String) {
    try? Data("saved".utf8).write(to: URL(fileURLWithPath: path), options: .atomic)
  }

  @Test("a second look that refuses puts the old file back, and nothing else is left")
  func refused() throws {
    let kept = try replacing { path, isTheOld throws(Refusal) in
      #expect(isTheOld && (try? String(contentsOfFile: path, encoding: .utf8)) == "new")
    }
    #expect(kept.isReplaced && kept.files == ["f": "new"])
    let refused = try replacing { _, _ throws(Refusal) in throw .changed }
    #expect(!refused.isReplaced && refused.files == ["f": "old"])
  }

  @Test("a file that took the name after the last look is shown to the second one, and put back")
  func savedBefore() throws {
    let found = try replacing(lastLook: save) { _, isTheOld throws(Refusal) in
      if !isTheOld { throw .changed }
    }
    #expect(!found.isReplaced && found.files == ["f": "saved"])
  }

  @Test("where there was none, a file that took the name after the last look is put back too")
  func madeBefore() throws {
    let made = try replacing(existing: false) { _, _ throws(Refusal) in throw .changed }
    #expect(made.isReplaced && made.files == ["f": "new"])
    let found = try replacing(existing: false, lastLook: save) { _, isTheOld throws(Refusal) in
      if !isTheOld { throw .changed }
    }
    #expect(!found.isReplaced && found.files == ["f": "saved"])
  }

  @Test("a file that takes the name while the second look refuses stays")
  func savedMeanwhile() throws {
    let found = try replacing { path, _ throws(Refusal) in
      save(path)
      throw .changed
    }
    #expect(!found.isReplaced && found.files == ["f": "saved"])
  }

  @Test("a device, a FIFO or a link that a person named is not replaced; a file and none are")
  func onlyRegularFiles() throws {
    let place = TemporaryFolder()
    let folder = place.path
    try Data().write(to: URL(fileURLWithPath: "\(folder)/file"))
    try #require(mkfifo("\(folder)/fifo", 0o600) == 0)
    try #require(symlink("file", "\(folder)/link") == 0)
    for name in ["file", "none"] { try Replacement.allow("\(folder)/\(name)") }
    for name in ["fifo", "link"] {
      #expect(throws: FileError.self) { try Replacement.allow("\(folder)/\(name)") }
    }
  }
}
