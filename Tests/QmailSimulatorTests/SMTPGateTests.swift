import Glibc
import Files
import Mail
import QmailQueue
import Testing

@testable import QmailSimulator

@Suite struct SMTPGateTests {
  private func codes(
    _ box: Sandbox, _ sender: String, to: [String] = ["joe@mx.test"], user: String? = nil
  ) -> [Int] {
    box.qmail.offer(
      sender: Address(sender), recipients: to.map { Address($0) }, client: "192.0.2.7", user: user,
      message: [], at: box.zero
    ).replies.map(\.code)
  }

  private func list(_ box: Sandbox, _ text: String) throws {
    let path = box.qmail.qmail + "/control/badmailfrom"
    let file = try Descriptor.open(path, [.write, .create, .truncate])
    try file.write(text.utf8, at: 0)
    try file.setPermissions(0o644)
  }

  @Test(
    "badmailfrom entries match as in stock qmail-smtpd",
    arguments: [
      ("a@b.test", "A@B.Test", true), ("a@b.test", "aa@b.test", false),
      ("@b.test", "x@B.test", true), ("@b.test", "x@sub.b.test", false),
      ("b.test", "x@b.test", false),
      (".b.test", "x@c.b.test", false), ("@", "x@", true), ("@", "x@b.test", false),
      ("@", "", false),
      ("#x@b.test", "#x@b.test", false), ("a@b.test \t", "a@b.test", true),
      ("a@b.test\r", "a@b.test", false), (" a@b.test", "a@b.test", false),
      ("a@b.test # note", "a@b.test", false), ("z@z\0a@b.test", "a@b.test", true),
      ("c@d.test\n\na@b.test", "a@b.test", true), ("c@d.testa@b.test", "a@b.test", false),
    ])
  func matching(entry: String, sender: String, isBlocked: Bool) throws {
    let box = try Sandbox(started: false)
    try list(box, entry)
    #expect(codes(box, sender) == [isBlocked ? 553 : 250])
    try list(box, entry + "\n")
    #expect(codes(box, sender) == [isBlocked ? 553 : 250])
    #expect(codes(box, sender, to: ["x@far.example"], user: "u") == [isBlocked ? 553 : 250])
  }

  @Test("it is read at each connection; unreadable or a directory, every connection gets 421")
  func reading() throws {
    let box = try Sandbox(started: false)
    #expect(codes(box, "a@b.test") == [250])
    try list(box, "a@b.test\n")
    let reply = box.qmail.offer(
      sender: Address("a@b.test"), recipients: [Address("joe@mx.test")], client: "192.0.2.7",
      message: [], at: box.zero)
    #expect(
      reply.replies.map(\.description)
        == ["553 sorry, your envelope sender is in my badmailfrom list (#5.7.1)"])
    #expect(reply.entry == nil)
    let path = box.qmail.qmail + "/control/badmailfrom"
    chmod(path, 0o600)
    #expect(codes(box, "c@d.test") == [421])
    unlink(path)
    mkdir(path, 0o755)
    #expect(codes(box, "c@d.test") == [421])
  }

  @Test(
    "only relay clients reach outside domains; what was accepted is queued for those recipients")
  func relaying() throws {
    let box = try Sandbox(control: ["rcpthosts": "mx.test\n.sub.test\n"], started: false)
    let to = ["joe@MX.test", "x@far.example", "y@a.sub.test", "z@sub.test", "bare"]
    #expect(codes(box, "a@b.test", to: to) == [250, 553, 250, 553, 250])
    let id = try #require(try box.qmail.tree.numbers(.todo).first)
    #expect(
      box.text(.todo, id) == "u7791\0p10001\0Fa@b.test\0Tjoe@MX.test\0Ty@a.sub.test\0Tbare\0")
    #expect(codes(box, "a@b.test", to: to, user: "u") == [250, 250, 250, 250, 250])
  }
}
