import Files
import Fixtures
import Glibc
import Mail
import QmailQueue

/// A queue laid out in a directory of its own under /tmp, removed with the fixture.
final class QueueFixture {
  private let folder = TemporaryFolder()
  var qmail: String { folder.path }
  let split: Int
  let todoIsSplit: Bool

  var queue: String { "\(qmail)/queue" }

  init(split: Int = 5, todoIsSplit: Bool = false, channels: [String] = ["local", "remote"]) {
    self.split = split
    self.todoIsSplit = todoIsSplit
    makeQueue(channels: channels)
  }

  func makeQueue(channels: [String] = ["local", "remote"]) {
    mkdir(queue, 0o755)
    for name in ["todo", "intd", "bounce", "pid", "lock", "mess", "info"] + channels {
      mkdir("\(queue)/\(name)", 0o755)
      let isSplit = !["bounce", "pid", "lock"].contains(name)
      let isTodo = name == "todo" || name == "intd"
      if isSplit, !isTodo || todoIsSplit {
        for part in 0..<split { mkdir("\(queue)/\(name)/\(part)", 0o755) }
      }
    }
    write("", "\(queue)/lock/sendmutex")
  }

  var layout: QueueLayout { get throws { try QueueLayout.read(qmail: qmail) } }

  func path(_ kind: QueueFile, _ id: UInt64) -> String {
    let isFlat =
      kind == .bounce || (kind == .todo || kind == .intd) && !todoIsSplit
    return isFlat
      ? "\(queue)/\(kind.rawValue)/\(id)" : "\(queue)/\(kind.rawValue)/\(id % UInt64(split))/\(id)"
  }

  func put(_ kind: QueueFile, _ id: UInt64, _ text: String) { write(text, path(kind, id)) }
  func remove(_ kind: QueueFile, _ id: UInt64) { unlink(path(kind, id)) }

  static let relayed = """
    Received: (qmail 77 invoked from network); 23 Nov 2026 17:41:03 -0000
    Received: from unknown (HELO laptop) (alice@127.66.6.6)
      by mx.test with SMTP; 23 Nov 2026 17:41:03 -0000
    From: alice@mx.test
    Subject: hello

    text

    """

  /// A message as qmail-queue leaves it: mess, intd, todo. Its number is the inode of its message file.
  @discardableResult
  func inject(
    from sender: String, to recipients: [String], message: String = QueueFixture.relayed
  ) -> UInt64 {
    let made = "\(queue)/pid/\(sender.count).new"
    write(message, made)
    var status = stat()
    lstat(made, &status)
    let id = UInt64(status.st_ino)
    rename(made, path(.mess, id))
    put(.intd, id, "u1002\0p77\0F\(sender)\0" + recipients.map { "T\($0)\0" }.joined())
    link(path(.intd, id), path(.todo, id))
    return id
  }

  /// What qmail-send does with a message in todo, in its order.
  func takeIn(_ id: UInt64, from sender: String, local: [String] = [], remote: [String] = []) {
    put(.info, id, "F\(sender)\0")
    if !local.isEmpty { put(.local, id, local.map { "T\($0)\0" }.joined()) }
    if !remote.isEmpty { put(.remote, id, remote.map { "T\($0)\0" }.joined()) }
    remove(.intd, id)
    remove(.todo, id)
  }

  /// A message that has been taken in.
  @discardableResult
  func message(
    from sender: String, local: [String] = [], remote: [String] = [],
    message: String = QueueFixture.relayed
  ) -> UInt64 {
    let id = inject(from: sender, to: local + remote, message: message)
    takeIn(id, from: sender, local: local, remote: remote)
    return id
  }

  /// Marks the first recipient to do as done, in place.
  func markDone(_ kind: QueueFile, _ id: UInt64) throws {
    let file = try Descriptor.open(path(kind, id), .readWrite)
    let bytes = try file.readAll(limit: 1 << 20)
    let list = RecipientFile(bytes)
    guard let first = list.recipients.firstIndex(where: { !$0.isDone }) else { return }
    try file.write([UInt8(ascii: "D")], at: Int64(list.offsets[first]))
  }

  /// What qmail-send removes when a message ends, in its order.
  func end(_ id: UInt64) {
    for kind in [QueueFile.local, .remote, .bounce, .info, .mess] { remove(kind, id) }
  }

  func write(_ text: String, _ path: String) {
    let file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
    _ = Glibc.write(file, text, text.utf8.count)
    close(file)
  }

  func append(_ text: String, _ path: String) {
    let file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0o644)
    _ = Glibc.write(file, text, text.utf8.count)
    close(file)
  }
}

extension QueueFixture {
  private static let sampleFolder =
    String(#filePath.dropLast("QmailQueueTests/QueueFixture.swift".count)) + "MailTests/Samples"

  static func sample(_ path: String) throws -> [UInt8] {
    try Descriptor.open("\(sampleFolder)/\(path)").readAll(limit: 1 << 20)
  }

  /// A queue of the real messages, under their numbers and with the births that qmail-qread printed.
  static func samples() throws -> QueueFixture {
    let fixture = QueueFixture(split: 23)
    for folder in try Descriptor.open(sampleFolder, .directory).names() where folder.first == "0" {
      let kinds = try Descriptor.open("\(sampleFolder)/\(folder)", .directory).names()
      for kind in kinds {
        let files = try Descriptor.open("\(sampleFolder)/\(folder)/\(kind)", .directory).names()
        for id in files.compactMap({ UInt64($0) }) {
          guard let kind = QueueFile(rawValue: kind) else { continue }
          let text = String(decoding: try sample("\(folder)/\(kind.rawValue)/\(id)"), as: UTF8.self)
          fixture.put(kind, id, text)
        }
      }
    }
    // "23 Nov 2026 17:41:10 GMT  #1412753  2068  <#@[]> "
    for line in String(decoding: try sample("qmail-qread.txt"), as: UTF8.self).split(
      separator: "\n")
    where line.contains(" GMT  #") {
      let words = line.split(separator: " ")
      let clock = words[3].split(separator: ":").compactMap { Int($0) }
      // 2026-11-23 00:00:00 UTC
      let seconds = 1_795_392_000 + clock[0] * 3600 + clock[1] * 60 + clock[2]
      var times = [timespec(tv_sec: seconds, tv_nsec: 5), timespec(tv_sec: seconds, tv_nsec: 5)]
      utimensat(AT_FDCWD, fixture.path(.info, UInt64(words[5].dropFirst()) ?? 0), &times, 0)
    }
    return fixture
  }
}
