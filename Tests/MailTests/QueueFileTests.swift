import Mail
import Testing

@Suite("The small files of the queue")
struct QueueFileTests {
  private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

  @Test("todo: uid, pid, sender, recipients")
  func todo() throws {
    let file = try #require(TodoFile(try Sample.bytes("08-todo/todo/1412801")))
    #expect(file.uid == 1002 && file.pid == 14055)
    #expect(file.sender == Address("someone@else.example"))
    #expect(file.recipients == [Address("joe@mx.test")])
  }

  @Test(
    "a half-written or strange todo file is none",
    arguments: ["", "u1\0", "u1\0p2\0Fa@b", "Fa@b\0Tc@d", "Fa@b\0Xc@d\0", "Fa\0\0", "\0"])
  func partTodo(_ text: String) { #expect(TodoFile(bytes(text)) == nil) }

  @Test("a null sender and no recipients are a whole todo file")
  func nullTodo() {
    let file = TodoFile(bytes("F\0"))
    #expect(file?.sender == .null && file?.recipients == [])
  }

  @Test("info: senders, null and double bounce too; half-written is none")
  func info() throws {
    #expect(InfoFile.sender(bytes("F\0")) == .null)
    #expect(InfoFile.sender(bytes("F#@[]\0")) == .doubleBounce)
    #expect(
      InfoFile.sender(try Sample.bytes("01-relay-auth-deferred/info/1412638"))
        == Address("alice@mx.test"))
    for text in ["", "F", "Fa@b", "\0", "Ta@b\0"] {
      #expect(InfoFile.sender(bytes(text)) == nil)
    }
  }

  @Test("recipients, what is done, where the letters stand, what is left over")
  func recipients() throws {
    let sample = try Sample.bytes("02-mixed-local-remote-bounce/local/1412657")
    let file = RecipientFile(sample)
    #expect(file.recipients.map(\.isDone) == [false, true, true])
    #expect(file.recipients[1].address == Address("nobody@mx.test"))
    #expect(file.offsets.map { sample[$0] } == Array("TDD".utf8))
    #expect(file.tail == 0 && file.strange == 0)
    let cut = RecipientFile(bytes("Ta\0\0Xb\0Dc\0Td"))
    #expect(
      cut.recipients == [
        Recipient(address: Address("a")), Recipient(address: Address("c"), isDone: true),
      ])
    #expect(cut.offsets == [0, 7])
    #expect(cut.strange == 2 && cut.tail == 2)
    #expect(RecipientFile.count(bytes("Ta\0\0Xb\0Dc\0Td")) == (1, 1))
  }

  @Test("bounce: whole paragraphs are counted once, however they are cut up")
  func bounces() throws {
    let sample = try Sample.bytes("02-mixed-local-remote-bounce/bounce/1412657")
    #expect(BounceFile.failures(sample) == (2, sample.count))
    for cut in 0...sample.count {
      let first = BounceFile.failures(Array(sample[..<cut]))
      let rest = BounceFile.failures(Array(sample[first.consumed...]))
      #expect(first.count + rest.count == 2)
    }
    #expect(BounceFile.failures(bytes("<a>:\n/\n<b>:\nx\n\n")).count == 1)
  }

  @Test("no bytes break them", arguments: Sample.small)
  func hostile(_ path: String) throws {
    let sample = try Sample.bytes(path)
    var isSound = true
    for seed in 1...1000 {
      let bytes = Sample.mutated(sample, seed: UInt64(seed))
      _ = TodoFile(bytes)
      _ = InfoFile.sender(bytes)
      let file = RecipientFile(bytes)
      isSound =
        isSound && BounceFile.failures(bytes).consumed <= bytes.count
        && RecipientFile.count(bytes).done == file.recipients.count { $0.isDone }
        && file.offsets.allSatisfy {
          bytes[$0] == UInt8(ascii: "T") || bytes[$0] == UInt8(ascii: "D")
        }
    }
    #expect(isSound)
  }
}
