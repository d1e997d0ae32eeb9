import Files
import Fixtures
import Glibc
import Mail
import QmailQueue
import Synchronization

/// A queue in a directory of its own under /tmp with the real messages of Tests/MailTests/Samples in it; removed with the fixture.
final class SampleQueue {
  static let split = 23
  private let folder = TemporaryFolder()
  var qmail: String { folder.path }

  init() throws {
    mkdir("\(qmail)/queue", 0o755)
    for kind in ["mess", "info", "local", "remote", "todo", "intd", "bounce"] {
      mkdir("\(qmail)/queue/\(kind)", 0o755)
      guard !["todo", "intd", "bounce"].contains(kind) else { continue }
      for part in 0..<Self.split { mkdir("\(qmail)/queue/\(kind)/\(part)", 0o755) }
    }
    let samples =
      String(#filePath.dropLast("qwardenTests/SampleQueue.swift".count)) + "MailTests/Samples"
    for sample in try Descriptor.open(samples, .directory).names() {
      guard let folder = try? Descriptor.open("\(samples)/\(sample)", .directory) else { continue }
      for kind in try folder.names() {
        for name in try folder.open(kind, .directory).names() {
          guard let id = UInt64(name) else { continue }
          try put(
            kind, id,
            Descriptor.open("\(samples)/\(sample)/\(kind)/\(name)").readAll(limit: 1 << 20))
        }
      }
    }
  }

  func put(_ kind: String, _ id: UInt64, _ bytes: [UInt8]) throws {
    let isFlat = ["todo", "intd", "bounce"].contains(kind)
    let path = "\(qmail)/queue/\(kind)/\(isFlat ? "" : "\(id % UInt64(Self.split))/")\(id)"
    try Replacement.write(bytes, to: path, mode: 0o644)
  }

  struct Read: Sendable {
    var entry: Entry
    var header: MessageHeader
    var bytes: [UInt8]
  }

  /// Every message, each born at the same moment, by number.
  func messages(born birth: Timestamp) throws -> [Read] {
    let read = Mutex<[Read]>([])
    let look = EntryLook<Read>(.all) { entry, message in
      message.map { Read(entry: entry, header: $0.header, bytes: $0.contents(limit: 1 << 20)) }
    }
    try QueueScanner(layout: QueueLayout.read(qmail: qmail)).forEach(look) { findings in
      read.withLock { $0 += findings.items }
      return true
    }
    return read.withLock { $0 }.map { read in
      var read = read
      read.entry.identity.birth = birth
      return read
    }.sorted { $0.entry.identity.id < $1.entry.identity.id }
  }
}
