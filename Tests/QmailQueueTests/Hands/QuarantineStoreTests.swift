import Files
import Glibc
import Mail
import Testing

@testable import QmailQueue

@Suite("Quarantine on disk")
struct QuarantineStoreTests {
  let queue: HandsFixture
  init() throws { queue = try HandsFixture() }

  func kind(_ path: String, creating: Bool = true) -> QuarantineError.Kind? {
    do {
      _ = try QuarantineStore(path: path, creating: creating)
      return nil
    } catch { return error.kind }
  }

  @Test("A store that is missing, a link, a file or open to others is refused with its reason")
  func foreign() throws {
    #expect(kind(queue.storePath, creating: false) == .missing)
    #expect(kind(queue.storePath) == nil)
    #expect(try FileStatus.of(queue.storePath).permissions == 0o700)
    chmod(queue.storePath, 0o750)
    #expect(kind(queue.storePath) == .foreign)
    symlink(queue.storePath, "\(queue.home)/link")
    #expect(kind("\(queue.home)/link") == .foreign)
    try queue.write("", to: "\(queue.home)/file")
    #expect(kind("\(queue.home)/file") == .foreign)
    if geteuid() != 0 { #expect(kind("/root") != nil) }
  }

  @Test(
    "Files are 0600, and a planted link or FIFO in a file's place is not followed and not waited for"
  )
  func files() throws {
    let store = try queue.store()
    let entry = try queue.entry(5, remote: ["Ta@r.test"])
    try queue.retire(entry, into: store)
    let path = "\(queue.storePath)/\(QuarantineStore.name(entry, "mail"))"
    #expect(try FileStatus.of(path).permissions == 0o600)
    let text = try #require(queue.read(path))
    try queue.write(text, to: "\(queue.home)/other")
    unlink(path)
    symlink("\(queue.home)/other", path)
    #expect(throws: QuarantineError.self) { _ = try store.read(entry) }
    unlink(path)
    mkfifo(path, 0o600)
    #expect(throws: QuarantineError.self) { _ = try store.read(entry) }
    unlink(path)
    #expect(throws: QuarantineError.self) { _ = try store.read(entry) }
    try queue.write(text, to: path)
    #expect(try store.read(entry).identity == entry)
  }

  @Test("What an earlier version set aside, in two files, is read, noted in and deleted")
  func earlierVersion() throws {
    let store = try queue.store()
    let entry = EntryIdentity(id: 5, birth: Timestamp(nanoseconds: 17))
    let path = "\(queue.storePath)/5.17"
    let envelope =
      "qwarden-envelope 1\nK\nid 5\nbirth 17\ntaken 18\nboot b\nsize 6\nrecipients 1\nFa@b\0Mr0 c@d\0"
    try queue.write(envelope, to: "\(path).envelope")
    #expect(throws: QuarantineError.self) { _ = try store.read(entry) }
    try queue.write("x\n\ny\nz", to: "\(path).message")
    #expect(try store.contents().messages == [entry])
    #expect(try store.read(entry).recipients.map(\.state) == [.marked])
    #expect(try store.message(entry).read(limit: 100) == Array("x\n\ny\nz".utf8))
    var open = try store.open(entry)
    try open.set(.released, of: 0)
    #expect(queue.read("\(path).envelope") == envelope.replacing("Mr0", with: "Rr0"))
    try store.delete(entry)
    #expect(try store.contents() == QuarantineStore.Contents())
  }

  @Test(
    "A copy cut off anywhere counts as none while nothing is noted in it, and as damaged afterwards"
  )
  func cutShort() throws {
    let store = try queue.store()
    let entry = try queue.entry(5, remote: ["Ta@r.test"])
    let path = "\(queue.storePath)/\(QuarantineStore.name(entry, "mail"))"
    func kind() -> QuarantineError.Kind? {
      do { _ = try store.read(entry) } catch { return error.kind }
      return nil
    }
    var retirement = try Retirement.open(
      entry, sender: Address("alice@mx.test"), in: queue.layout)
    try retirement.copy(into: store, at: HandsFixture.birth)
    let copied = try #require(queue.read(path))
    #expect(kind() == nil)
    for length in 0..<copied.utf8.count {
      truncate(path, length)
      #expect(kind() == .missing)
      try queue.write(copied, to: path)
    }
    // Such a one does not stand in the way of the next.
    truncate(path, 30)
    try retirement.cancel(from: store)
    truncate(path, 30)
    var again = try Retirement.open(entry, sender: nil, in: queue.layout)
    try again.copy(into: store, at: HandsFixture.birth)
    _ = try again.mark()
    let marked = try #require(queue.read(path))
    let noted = try #require(marked.firstRange(of: "\0M")).upperBound
    for length in marked.utf8.distance(from: marked.startIndex, to: noted)..<marked.utf8.count {
      truncate(path, length)
      #expect(kind() == .damaged)
      try queue.write(marked, to: path)
    }
    #expect(kind() == nil)
  }

  @Test("Names are sorted into whole messages, partial ones and strangers")
  func contents() throws {
    let store = try queue.store()
    let first = try queue.entry(5, remote: ["Ta@r.test"])
    let second = try queue.entry(6, remote: ["Ta@r.test"], birth: first.birth - .seconds(5))
    try queue.retire(first, into: store)
    try queue.retire(second, into: store)
    try queue.write("x", to: "\(queue.storePath)/9.17.bounce")
    for name in ["notes.txt", "9.17.message~", "09.17.message", "9.+17.message", "9.17"] {
      try queue.write("x", to: "\(queue.storePath)/\(name)")
    }
    let contents = try store.contents()
    #expect(contents.messages == [second, first])
    #expect(contents.partial == [EntryIdentity(id: 9, birth: Timestamp(nanoseconds: 17))])
    #expect(
      contents.foreign == ["09.17.message", "9.+17.message", "9.17", "9.17.message~", "notes.txt"])
    try store.delete(second)
    try store.delete(EntryIdentity(id: 9, birth: Timestamp(nanoseconds: 17)))
    #expect(try store.contents().messages == [first])
    #expect(try store.contents().partial.isEmpty)
  }

  @Test("An envelope reads back as written, whatever bytes its addresses hold")
  func roundTrip() throws {
    let odd = Address([0x22, 0x0A, 0xFF, 0x20, 0x54, 0x40] + Array("x".utf8))
    let message = QuarantinedMessage(
      identity: EntryIdentity(id: .max, birth: Timestamp(nanoseconds: -1)), sender: .null, size: 7,
      taken: HandsFixture.birth, boot: "", phase: .marked,
      recipients: QuarantinedState.allCases.enumerated().map {
        QuarantinedRecipient(
          address: $0.offset == 2 ? Address.null : odd,
          channel: $0.offset % 2 == 0 ? .local : .remote, offset: Int64($0.offset) * 1000,
          state: $0.element)
      })
    let (bytes, states) = EnvelopeFormat.encode(message)
    guard case .whole(let decoded) = EnvelopeFormat.decode(bytes + Array("body".utf8)) else {
      Issue.record("an envelope of ours is not read")
      return
    }
    #expect(decoded.start == Int64(bytes.count))
    #expect(decoded.message == message)
    #expect(decoded.states == states)
    #expect(states.map { bytes[Int($0)] } == QuarantinedState.allCases.map(\.rawValue))
  }

  @Test(
    "Every cut and every changed byte of an envelope is read without a crash; cuts are never accepted"
  )
  func hostileEnvelope() throws {
    let message = QuarantinedMessage(
      identity: EntryIdentity(id: 1, birth: Timestamp(nanoseconds: 2)), sender: Address("a@b"),
      size: 3, taken: Timestamp(nanoseconds: 4), boot: "b",
      recipients: [.init(address: Address("c@d"), channel: .remote, offset: 5)])
    let (bytes, _) = EnvelopeFormat.encode(message)
    for cut in 0..<bytes.count {
      guard case .cut(isUntouched: true) = EnvelopeFormat.decode(Array(bytes[..<cut])) else {
        Issue.record("cut at \(cut)")
        continue
      }
    }
    for at in bytes.indices {
      for byte in [0, 10, 32, 45, 57, 80, 255] as [UInt8] where bytes[at] != byte {
        var changed = bytes
        changed[at] = byte
        // Accepted only as another envelope, never as this one.
        if case .whole(let read) = EnvelopeFormat.decode(changed) {
          #expect(read.message != message)
        }
      }
    }
    let huge = String(decoding: bytes, as: UTF8.self).replacing(
      "recipients 1", with: "recipients 99999999999")
    guard case .cut = EnvelopeFormat.decode(Array(huge.utf8)) else {
      Issue.record("a number of recipients without them was believed")
      return
    }
  }
}
