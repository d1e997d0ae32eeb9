import Files
import Fixtures
import Glibc
import Mail
import QmailQueue
import Testing

@testable import qwarden

@Suite struct ExportTests {
  private final class Place {
    private let folder = TemporaryFolder()
    var path: String { folder.path }
    func message(_ text: String) throws -> QuarantinedBody {
      let file = try Descriptor.open("\(path)/m", [.readWrite, .create, .truncate])
      try file.write("envelope\(text)".utf8, at: 0)
      return QuarantinedBody(file: file, start: 8)
    }
    func text(_ name: String) throws -> String {
      String(
        decoding: try Descriptor.open("\(path)/\(name)").readAll(limit: 1 << 20), as: UTF8.self)
    }
  }

  private let identity = EntryIdentity(
    id: 17, birth: Timestamp(nanoseconds: 1_795_455_663_000_000_042))

  @Test(
    "every line that would begin a message gets a mark that can be taken off, whatever the pieces")
  func quoting() {
    let message = "From a\n>From b\nFro\n>>From c\n>x\nFromage\n From d\nx From e\n\nFrom "
    let quoted = ">From a\n>>From b\nFro\n>>>From c\n>x\nFromage\n From d\nx From e\n\n>From \n\n"
    for size in 1...message.utf8.count {
      var quoting = MboxQuoting()
      var out: [UInt8] = []
      var rest = Array(message.utf8)[...]
      while !rest.isEmpty {
        out += quoting.take(Array(rest.prefix(size)))
        rest = rest.dropFirst(size)
      }
      out += quoting.finish()
      #expect(String(decoding: out, as: UTF8.self) == quoted, "\(size)")
    }
    for (text, end) in [("", "\n"), ("x\n", "x\n\n"), (">>", ">>\n\n"), ("Fr", "Fr\n\n")] {
      var quoting = MboxQuoting()
      let out = quoting.take(Array(text.utf8)) + quoting.finish()
      #expect(String(decoding: out, as: UTF8.self) == end)
    }
  }

  @Test("an mbox file appears whole, keeps each message's bytes, and never replaces a file")
  func mbox() throws {
    let place = Place()
    let file = try MboxFile("\(place.path)/out")
    let message = try place.message("Subject: x\n\nFrom me\nend")
    for sender in [Address("a b@x.test"), .null] {
      let isNew = try file.add(message, from: sender, identity)
      #expect(isNew)
    }
    #expect(throws: FileError.self) { try place.text("out") }
    try file.finish()
    let body = "Subject: x\n\n>From me\nend\n\n"
    #expect(
      try place.text("out")
        == "From a-b@x.test Mon Nov 23 17:41:03 2026\n\(body)From MAILER-DAEMON Mon Nov 23 17:41:03 2026\n\(body)"
    )
    #expect(throws: FileError.self) { _ = try MboxFile("\(place.path)/out") }
    do {
      let other = try MboxFile("\(place.path)/late")
      _ = try other.add(message, from: .null, identity)
      _ = try Descriptor.open("\(place.path)/late", [.write, .create])
      #expect(throws: FileError.self) { try other.finish() }
    }
    #expect(try place.text("late") == "")
    #expect(try Set(Descriptor.open(place.path, .directory).names()) == ["m", "out", "late"])
  }

  @Test("a Maildir gets each message once, whole in new, and nothing stays in tmp")
  func maildir() throws {
    let place = Place()
    let message = try place.message("From me\nSubject: x\n\nbody")
    for isFirst in [true, false] {
      let folder = try MaildirFolder("\(place.path)/box")
      let isNew = try folder.add(message, from: .null, identity)
      #expect(isNew == isFirst)
      try folder.finish()
    }
    let names = try Descriptor.open("\(place.path)/box/new", .directory).names()
    #expect(names.count == 1 && names.allSatisfy { !$0.contains(":") && !$0.hasPrefix(".") })
    #expect(try place.text("box/new/\(names[0])") == "From me\nSubject: x\n\nbody")
    #expect(try Descriptor.open("\(place.path)/box/tmp", .directory).names() == [])
  }
}
