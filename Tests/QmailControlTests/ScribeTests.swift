import Files
import Mail
import Testing

@testable import QmailControl

@Suite struct ScribeTests {
  private func badmailfrom(_ home: Home) -> Badmailfrom {
    Badmailfrom(control: home.control, dialect: .stock)
  }

  /// A request answered as `qwarden-badmailfrom@.service` does, and the answer read as the daemon does.
  private func ask(
    _ request: [UInt8], _ home: Home, objection: @escaping (Address) -> String? = { _ in nil }
  ) throws(BadmailfromError) -> Bool {
    let answer = BadmailfromScribe.answer(request, for: badmailfrom(home), objection: objection)
    return try BadmailfromScribe.read(answer, home.badmailfrom)
  }

  private func request(_ lines: [OwnLine], _ home: Home) -> [UInt8] {
    BadmailfromScribe.request(lines, home.badmailfrom)
  }

  @Test("what is asked for is what the daemon itself would have written, tags and all")
  func same() throws {
    let lines = [
      own("joe@spam.test"), own("@bulk.test", incident: nil, reason: "by hand; joe's words: x"),
    ]
    let direct = Home()
    try badmailfrom(direct).replace(ownLines: lines)
    let asked = Home()
    #expect(try ask(request(lines, asked), asked))
    #expect(try asked.text() == direct.text())
    #expect(try ask(request(lines, asked), asked) == false)
  }

  @Test("a request cut off anywhere changes nothing")
  func cut() throws {
    let home = Home()
    try home.write("control/badmailfrom", "# mine\nadmin@bad.test\n")
    let before = try home.text()
    let whole = request([own("joe@spam.test"), own("ann@spam.test")], home)
    for length in 0..<whole.count {
      #expect(throws: BadmailfromError.self) { _ = try ask(Array(whole[..<length]), home) }
    }
    #expect(try home.text() == before)
  }

  @Test(
    "only this file, only lines of ours, and a bounded number of them",
    arguments: [
      "/var/qmail/control/locals\n# qwarden: joe@spam.test until ?\nend\n",
      "HOME\njoe@spam.test\nend\n", "HOME\n# qwarden: joe@spam.test until ?\n\nend\n",
      "HOME\n# mine\nend\n", "HOME\n# qwarden: @ until ?\nend\n", "\nend\n",
      "HOME" + String(repeating: "\n# qwarden: joe@spam.test until ?", count: 1001) + "\nend\n",
    ])
  func bounds(text: String) throws {
    let home = Home()
    try home.write("control/badmailfrom", "admin@bad.test\n")
    let request = Array(text.replacing("HOME", with: home.badmailfrom).utf8)
    #expect(throws: BadmailfromError.self) { _ = try ask(request, home) }
    #expect(try home.text() == "admin@bad.test\n")
  }

  @Test("a new line is held against the guards whoever asks; one that stands already is not")
  func guarded() throws {
    let home = Home()
    let guards: (Address) -> String? = { $0 == Address("joe@mx.test") ? "joe\nis protected" : nil }
    let error = #expect(throws: BadmailfromError.self) {
      _ = try ask(
        request([own("x@spam.test"), own("joe@mx.test")], home), home, objection: guards)
    }
    #expect(error?.kind == .unblockable && error?.message == "joe is protected")
    #expect((try? home.text()) == nil)
    #expect(try ask(request([own("joe@mx.test")], home), home))
    #expect(
      try ask(request([own("joe@mx.test"), own("x@spam.test")], home), home, objection: guards))
  }

  @Test("a refusal comes back with its kind, reason and remedy; an answer cut off is no success")
  func refused() throws {
    let home = Home()
    try home.write("control/badmailfrom", "admin@bad.test\n", mode: 0o600)
    let error = #expect(throws: BadmailfromError.self) {
      _ = try ask(request([own("joe@spam.test")], home), home)
    }
    let direct = #expect(throws: BadmailfromError.self) {
      try badmailfrom(home).replace(ownLines: [own("joe@spam.test")])
    }
    #expect(error == direct && error?.remedy != nil)
    for answer in ["", "changed", "chang", "unfit\n", "unfit\nwhy\nremedy\nmore\n"] {
      #expect(throws: BadmailfromError.self) {
        _ = try BadmailfromScribe.read(Array(answer.utf8), home.badmailfrom)
      }
    }
  }

  @Test("a socket where nobody answers is an error that names it")
  func silent() throws {
    let home = Home()
    let socket = "\(home.control)/socket"
    #expect(BadmailfromScribe(at: socket) == nil)
    do { _ = try UnixSocket.listen(at: socket) }
    let scribe = try #require(BadmailfromScribe(at: socket))
    let error = #expect(throws: BadmailfromError.self) {
      try scribe.replace(ownLines: [], in: badmailfrom(home))
    }
    #expect(error?.message.contains(socket) == true)
    #expect(error?.remedy?.contains("qwarden-badmailfrom") == true)
  }
}
