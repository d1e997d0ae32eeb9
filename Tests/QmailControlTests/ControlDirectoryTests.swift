import Fixtures
import Glibc
import Mail
import Testing

@testable import QmailControl

@Suite("control/")
struct ControlDirectoryTests {
  @Test("it is read as control_readfile reads it: comments, empty lines, trailing blanks, NUL")
  func lines() {
    let file = Array("a.test \t\n#b.test\n\n c.test\nd.test\0e.test\n\0f.test\nlast.test".utf8)
    #expect(
      ControlText.lines(file).map { String(decoding: $0.bytes, as: UTF8.self) }
        == ["a.test", " c.test", "d.test", "e.test", "last.test"])
    #expect(ControlText.lines(file).map(\.number) == [1, 4, 5, 5, 7])
  }

  @Test("names, defaults and double-bounce address")
  func snapshot() throws {
    let home = Home()
    try home.write("control/me", "MX.Test\nignored\n")
    let bare = try ControlDirectory(qmail: home.path).read()
    #expect(bare.me == Domain("mx.test"))
    #expect(bare.locals == [Domain("mx.test")])
    #expect(bare.doubleBounceRecipient == Address("postmaster@mx.test"))
    #expect(bare.notes == [])

    try home.write("control/locals", "localhost\nmx.test\n# old.test\n")
    try home.write("control/rcpthosts", "mx.test\n.wild.test\nrelayed.test")
    try home.write(
      "control/virtualdomains",
      "v.test:joe\nann@other.test:ann-mail\n.sub.test:sub\nnot.sub.test:\nbroken\nV2.test:x\nv2.test:y\n"
    )
    try home.write("control/doublebounceto", "ops\n")
    try home.write("control/doublebouncehost", "ops.test")
    let full = try ControlDirectory(qmail: home.path).read()
    #expect(full.locals == [Domain("localhost"), Domain("mx.test")])
    #expect(full.virtualdomains[Address("v2.test")] == Address("y"))
    #expect(full.doubleBounceRecipient == Address("ops@ops.test"))
    #expect(
      full.notes == ["\(home.control)/virtualdomains:5: has no colon: qmail-send passes it over"])
    for local in ["localhost", "MX.test", "relayed.test", "v.test", "a.wild.test", "a.b.sub.test"] {
      #expect(full.isLocal(Domain(local)), "\(local)")
    }
    for foreign in ["", "wild.test", "sub.test", "not.sub.test", "other.test", "xmx.test", "test"] {
      #expect(!full.isLocal(Domain(foreign)), "\(foreign)")
    }
    #expect(full.isLocal(Address("Ann@Other.test")))
    #expect(!full.isLocal(Address("bob@other.test")))
    #expect(full.localDomains.contains(Domain(".wild.test")))
  }

  @Test("what cannot be taken into account is said")
  func notes() throws {
    let home = Home()
    try home.write("control/me", "mx.test\r\n")
    try home.write("control/locals", "mx.test\na.test\r\n")
    try home.write("control/rcpthosts", "mx.test\n")
    try home.write("control/morercpthosts.cdb", "x")
    try home.write("control/virtualdomains", ":everyone\n")
    let first = try ControlDirectory(qmail: home.path).read()
    #expect(first.notes.count == 3)
    #expect(first.notes[0].hasPrefix("\(home.control)/locals:2: ends in CR"))
    #expect(first.notes[1].contains("its source morercpthosts is missing"))
    #expect(first.notes[2].contains("gives the mail for all other domains to everyone"))
    #expect(!first.isLocal(Domain("foreign.example")))
    try home.write("control/morercpthosts", "more.test\n")
    #expect(try ControlDirectory(qmail: home.path).read().isLocal(Domain("more.test")))
  }

  @Test("no directory, a directory for a file, an unreadable file: one clear error")
  func errors() throws {
    func failure(_ home: String) -> ControlError? {
      do throws(ControlError) {
        _ = try ControlDirectory(qmail: home).read()
        return nil
      } catch { return error }
    }
    #expect(failure("/nowhere")?.exitCode == 69)
    #expect(
      failure("/nowhere")?.description
        == "/nowhere/control: cannot look at: No such file or directory; give qmail's home with --qmail"
    )
    let home = Home()
    let missing = try ControlDirectory(qmail: home.path).read()
    #expect(missing.notes.count == 1 && missing.localDomains.isEmpty)
    mkdir("\(home.control)/locals", 0o755)
    #expect(
      failure(home.path)?.description
        == "\(home.control)/locals: is not a file; qmail cannot read it")
    rmdir("\(home.control)/locals")
    if geteuid() != 0 {
      try home.write("control/locals", "x", mode: 0)
      #expect(failure(home.path)?.exitCode == 77)
    }
  }

  static let virtual = ControlSnapshot(
    me: Domain("mx.test"), locals: [Domain("mx.test"), Domain("both.test")],
    virtualdomains: [
      Address("v.test"): Address("joe"), Address("both.test"): Address("never"),
      Address("ann@v.test"): Address("special"), Address("out@v.test"): Address(""),
      Address(".wild.test"): Address("w-x"), Address("no.wild.test"): Address(""),
      Address("u@only.test"): Address("u-only"),
    ])

  @Test(
    "the prepend of virtualdomains is taken off local records, and only there",
    arguments: [
      ("joe-bob@v.test", "bob@v.test"), ("joe-joe-bob@V.Test", "joe-bob@V.Test"),
      ("special-Ann@v.test", "Ann@v.test"), ("w-x-bob@a.b.wild.test", "bob@a.b.wild.test"),
      ("u-only-u@only.test", "u@only.test"), ("joe-@v.test", "@v.test"),
      // Nothing that virtualdomains would make today: left alone.
      ("never-bob@both.test", "never-bob@both.test"), ("joe@mx.test", "joe@mx.test"),
      ("joe-bob@mx.test", "joe-bob@mx.test"), ("joe-ann@v.test", "joe-ann@v.test"),
      ("joe-out@v.test", "joe-out@v.test"), ("w-x-bob@no.wild.test", "w-x-bob@no.wild.test"),
      ("w-x-bob@wild.test", "w-x-bob@wild.test"), ("JOE-bob@v.test", "JOE-bob@v.test"),
      ("u-only-v@only.test", "u-only-v@only.test"), ("joe", "joe"), ("", ""),
    ])
  func withoutPrepend(record: String, recipient: String) {
    #expect(Self.virtual.withoutPrepend(localRecipient: Address(record)) == Address(recipient))
  }

  @Test("a catch-all line works like the others")
  func catchAll() {
    let all = ControlSnapshot(me: Domain("mx.test"), virtualdomains: [Address(""): Address("all")])
    #expect(all.withoutPrepend(localRecipient: Address("all-b@c.d")) == Address("b@c.d"))
    #expect(!all.isLocal(Domain("c.d")))
  }

  @Test(
    "whatever qmail-send makes of a recipient, taking the prepend off gives a recipient it makes the same of"
  )
  func roundTrip() {
    var dice = Dice(seed: 7)
    let parts = ["joe", "ann", "a", "joe-a", "u", "out", "w-x", "special"]
    let domains = ["v.test", "a.wild.test", "no.wild.test", "only.test", "both.test", "x.test"]
    var changed = 0
    for _ in 0..<2000 {
      var local = parts.randomElement(using: &dice) ?? ""
      if Bool.random(using: &dice) { local += "-" + (parts.randomElement(using: &dice) ?? "") }
      let recipient = Address("\(local)@\(domains.randomElement(using: &dice) ?? "")")
      guard let record = Self.virtual.localRecord(of: recipient) else { continue }
      let back = Self.virtual.withoutPrepend(localRecipient: record)
      #expect(Self.virtual.localRecord(of: back) == record)
      if record != recipient { changed += 1 }
    }
    #expect(changed > 300)
  }
}
