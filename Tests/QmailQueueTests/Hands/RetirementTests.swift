import Files
import Glibc
import Mail
import Testing

@testable import QmailQueue

@Suite("Retirement of one message")
struct RetirementTests {
  let queue: HandsFixture
  let store: QuarantineStore
  init() throws {
    queue = try HandsFixture()
    store = try queue.store()
  }

  func refusal(_ identity: EntryIdentity, sender: String = "alice@mx.test") -> RetirementRefusal? {
    do {
      _ = try Retirement.open(identity, sender: Address(sender), in: queue.layout)
      return nil
    } catch { return error }
  }

  @Test(
    "Pending recipients are copied and marked, finished ones are left alone, the bounce is kept")
  func wholeWay() throws {
    let entry = try queue.entry(
      10, local: ["Tjoe@mx.test", "Dbob@mx.test"], remote: ["Dx@r.test", "Ty@r.test", "Tz@r.test"],
      bounce: "<x@r.test>:\nno\n\n")
    #expect(try queue.retire(entry, into: store) == .init(marked: 3, foundDone: 0))
    #expect(queue.letters(10) == "DDDDD")
    #expect(queue.read(queue.layout.path(.remote, 10)) == "Dx@r.test\0Dy@r.test\0Dz@r.test\0")
    #expect(try queue.bounces() == [:])
    let kept = try store.read(entry)
    #expect(kept.phase == .marked)
    #expect(kept.sender == Address("alice@mx.test"))
    #expect(
      kept.recipients == [
        .init(address: Address("joe@mx.test"), channel: .local, offset: 0, state: .marked),
        .init(address: Address("y@r.test"), channel: .remote, offset: 10, state: .marked),
        .init(address: Address("z@r.test"), channel: .remote, offset: 20, state: .marked),
      ])
    #expect(try store.bounce(entry) == Array("<x@r.test>:\nno\n\n".utf8))
    #expect(
      try store.message(entry).read(limit: 100) == Array("Received: x\n\nbody\n".utf8))
    #expect(DepartingEntryState(entry, queue) == .leaving)
    queue.finish(10)
    #expect(DepartingEntryState(entry, queue) == .gone)
  }

  @Test("A recipient that qmail finished between copy and mark is not ours")
  func finishedMeanwhile() throws {
    let entry = try queue.entry(11, remote: ["Ta@r.test", "Tb@r.test"])
    var retirement = try Retirement.open(entry, sender: Address("alice@mx.test"), in: queue.layout)
    try retirement.copy(into: store, at: entry.birth)
    try queue.markDone(.remote, 11, at: 0)
    #expect(try retirement.mark() == .init(marked: 1, foundDone: 1))
    #expect(try store.read(entry).recipients.map(\.state) == [.finishedByQmail, .marked])
    #expect(queue.letters(11) == "DD")
  }

  @Test("Every way in which an entry is not the one meant is refused before anything is written")
  func refusals() throws {
    let gone = EntryIdentity(id: 20, birth: HandsFixture.birth)
    #expect(refusal(gone) == .gone)

    let waiting = try queue.entry(21, remote: ["Ta@r.test"])
    try queue.write("u0\0p1\0Falice@mx.test\0Ta@r.test\0", to: queue.layout.path(.todo, 21))
    #expect(refusal(waiting) == .unprocessed)

    let reused = try queue.entry(22, remote: ["Ta@r.test"])
    let younger = EntryIdentity(id: 22, birth: reused.birth + .nanoseconds(1))
    #expect(refusal(younger) == .notTheSame("it was taken in at another time"))
    #expect(refusal(reused, sender: "alice@mx.tes") == .notTheSame("it has another sender"))
    #expect(refusal(reused, sender: "alice@mx.test2") == .notTheSame("it has another sender"))

    let done = try queue.entry(23, local: ["Da@mx.test"], remote: ["Db@r.test"])
    #expect(refusal(done) == .alreadyDone)

    let headless = try queue.entry(24, remote: ["Ta@r.test"])
    unlink(queue.layout.path(.mess, 24))
    #expect(
      refusal(headless)
        == .damaged(path: queue.layout.path(.mess, 24), why: "the message itself is missing"))
    for id in 21...24 { #expect(!queue.letters(UInt64(id)).isEmpty) }
    #expect(queue.letters(22) == "T")
    #expect(try store.contents() == QuarantineStore.Contents())
  }

  @Test(
    "Links, FIFOs, directories and half-written records in place of queue files are refused, not followed and not waited for",
    arguments: [QueueFile.local, .remote, .info, .mess])
  func strangeFiles(_ kind: QueueFile) throws {
    let entry = try queue.entry(30, local: ["Ta@mx.test"], remote: ["Tb@r.test"])
    let path = queue.layout.path(kind, 30)
    let victim = "\(queue.home)/victim"
    let saved = try #require(queue.read(path))
    try queue.write(saved, to: victim)
    unlink(path)
    symlink(victim, path)
    #expect(
      refusal(entry)
        == .damaged(path: path, why: "it is a symbolic link, which qmail never makes"))
    unlink(path)
    mkfifo(path, 0o600)
    #expect(refusal(entry) == .damaged(path: path, why: "it is not a plain file"))
    unlink(path)
    mkdir(path, 0o700)
    #expect(refusal(entry) != nil)
    rmdir(path)
    if kind == .local || kind == .remote {
      link(victim, path)
      guard case .damaged = refusal(entry) else {
        Issue.record("a recipient file with two names was accepted")
        return
      }
      for text in ["Ta@b", "Xa@b\0", "Ta@b\0\0", "\0", "ta@b\0"] {
        try queue.write(text, to: path)
        #expect(
          refusal(entry)
            == .damaged(path: path, why: "it holds something else than records"), "\(text)")
      }
    }
    #expect(queue.read(victim) == saved)
  }

  @Test("Recipients in a channel that is not known here stop the retirement")
  func extraChannel() throws {
    for part in 0..<3 {
      mkdir("\(queue.queue)/remote2", 0o755)
      mkdir("\(queue.queue)/remote2/\(part)", 0o755)
    }
    let entry = try queue.entry(31, remote: ["Ta@r.test"])
    let layout = try QueueLayout.read(qmail: queue.home)
    try queue.write("Tc@r.test\0", to: "\(queue.queue)/remote2/1/31")
    var refused: RetirementRefusal?
    do { _ = try Retirement.open(entry, sender: Address("alice@mx.test"), in: layout) } catch {
      refused = error
    }
    #expect(
      refused
        == .damaged(
          path: "\(queue.queue)/remote2/1/31",
          why: "it has recipients in a channel that is not known here"))
  }

  @Test("An entry that ended, or whose number was reused, after the copy is not marked")
  func changedBeforeMark() throws {
    for change in ["gone", "reused", "todo", "channel"] {
      let entry = try queue.entry(40, remote: ["Ta@r.test"])
      var retirement = try Retirement.open(
        entry, sender: Address("alice@mx.test"), in: queue.layout)
      try retirement.copy(into: store, at: entry.birth)
      switch change {
      case "gone": queue.finish(40)
      case "reused":
        queue.finish(40)
        try queue.entry(40, remote: ["Tnew@r.test"], birth: entry.birth + .seconds(1))
      case "todo": try queue.write("u0\0", to: queue.layout.path(.todo, 40))
      default:  // same birth and sender, rewritten recipients: only the inode tells
        try queue.write("Tnew@r.test\0", to: queue.layout.path(.remote, 40))
      }
      var refused: RetirementRefusal?
      do { _ = try retirement.mark() } catch { refused = error }
      #expect(refused != nil, "\(change)")
      if change != "gone" { #expect(queue.letters(40) == "T", "\(change)") }
      try retirement.cancel(from: store)
      #expect(try store.contents() == QuarantineStore.Contents(), "\(change)")
      unlink(queue.layout.path(.todo, 40))
    }
  }

  @Test("Cancelling before the marks leaves everything as it was, the bounce too")
  func cancel() throws {
    let entry = try queue.entry(50, remote: ["Ta@r.test", "Db@r.test"], bounce: "<b>:\nold\n\n")
    func begun() throws -> Retirement {
      var retirement = try Retirement.open(
        entry, sender: Address("alice@mx.test"), in: queue.layout)
      try retirement.copy(into: store, at: entry.birth)
      try retirement.moveBounceAside(into: store)
      #expect(try queue.bounces().keys.sorted() == ["qwarden.50.\(entry.birth.nanoseconds)"])
      return retirement
    }
    try begun().cancel(from: store)
    #expect(try queue.bounces() == ["50": "<b>:\nold\n\n"])
    #expect(queue.letters(50) == "TD")
    #expect(try store.contents() == QuarantineStore.Contents())
    try store.syncBatch()  // forgets what was removed

    // A new failure while ours stood aside: both texts are kept.
    let second = try begun()
    try queue.write("<c>:\nnew\n\n", to: queue.layout.path(.bounce, 50))
    try second.cancel(from: store)
    #expect(try queue.bounces() == ["50": "<c>:\nnew\n\n<b>:\nold\n\n"])

    // The entry ended meanwhile, or its number is already another's: there the bounce would reach a stranger.
    for isReused in [false, true] {
      try queue.entry(50, remote: ["Ta@r.test"], bounce: "<b>:\nold\n\n")
      let third = try begun()
      queue.finish(50)
      if isReused { try queue.write("u0\0", to: queue.layout.path(.todo, 50)) }
      try third.cancel(from: store)
      #expect(try queue.bounces() == [:])
    }
    unlink(queue.layout.path(.todo, 50))
    symlink("/etc/passwd", queue.layout.path(.bounce, 50))
    let fourth = try queue.entry(50, remote: ["Ta@r.test"])
    var retirement = try Retirement.open(
      fourth, sender: Address("alice@mx.test"), in: queue.layout)
    var refused: RetirementRefusal?
    do throws(RetirementRefusal) { try retirement.moveBounceAside(into: store) } catch {
      refused = error
    }
    #expect(
      refused
        == .damaged(path: queue.layout.path(.bounce, 50), why: "it is not a plain file"))
  }

  @Test("A bounce is not put back under the number of a message that is being ended, or has ended")
  func notPutBack() throws {
    let aside = "qwarden.56.\(HandsFixture.birth.nanoseconds)"
    func begun() throws -> Retirement {
      let entry = try queue.entry(56, remote: ["Ta@r.test", "Db@r.test"], bounce: "<b>:\nold\n\n")
      var retirement = try Retirement.open(
        entry, sender: Address("alice@mx.test"), in: queue.layout)
      try retirement.copy(into: store, at: entry.birth)
      try retirement.moveBounceAside(into: store)
      return retirement
    }
    // qmail-send has removed the last recipient file: it reads bounce/ID now, or has done so.
    let ending = try begun()
    unlink(queue.layout.path(.remote, 56))
    try ending.cancel(from: store)
    #expect(try queue.bounces() == [:])

    // Killed between link and unlink: both names are one file. The next start removes both.
    _ = try begun()
    link("\(queue.queue)/bounce/\(aside)", queue.layout.path(.bounce, 56))
    queue.finish(56)
    let outcome = try Recovery.finish(
      EntryIdentity(id: 56, birth: HandsFixture.birth), in: queue.layout, store: store,
      look: try queue.look(), boot: WallClock.bootID())
    #expect(outcome == .finishedByQmail)
    #expect(try queue.bounces() == [:])
  }

  @Test("While a message is being set aside, its number stays its own")
  func numberHeld() throws {
    let entry = try queue.entry(57, remote: ["Ta@r.test"])
    let path = queue.layout.path(.mess, 57)
    let inode = try FileStatus.of(path).inode
    var retirement = try Retirement.open(entry, sender: Address("alice@mx.test"), in: queue.layout)
    try retirement.copy(into: store, at: entry.birth)
    queue.finish(57)
    for number in 0..<50 {
      let later = "\(queue.queue)/pid/\(number)"
      try queue.write("next", to: later)
      #expect(try FileStatus.of(later).inode != inode)
    }
    try retirement.cancel(from: store)
  }

  @Test("After a mark there is no cancelling")
  func noCancelAfterMark() throws {
    let entry = try queue.entry(51, remote: ["Ta@r.test"])
    var retirement = try Retirement.open(entry, sender: Address("alice@mx.test"), in: queue.layout)
    try retirement.copy(into: store, at: entry.birth)
    _ = try retirement.mark()
    var refused = false
    do { try retirement.cancel(from: store) } catch { refused = true }
    #expect(refused)
    #expect(try store.contents().messages == [entry])
  }

  @Test("A bounce under a reused number is a stranger's and stays")
  func strangersBounce() throws {
    let entry = try queue.entry(52, remote: ["Ta@r.test"])
    var retirement = try Retirement.open(entry, sender: Address("alice@mx.test"), in: queue.layout)
    try retirement.copy(into: store, at: entry.birth)
    queue.finish(52)
    try queue.entry(52, remote: ["Dn@r.test"], bounce: "<n>:\n\n", birth: entry.birth + .seconds(9))
    var refused: RetirementRefusal?
    do throws(RetirementRefusal) { try retirement.moveBounceAside(into: store) } catch {
      refused = error
    }
    #expect(refused == .notTheSame("it was taken in at another time"))
    #expect(try queue.bounces() == ["52": "<n>:\n\n"])
    let departing = DepartingEntry(entry, sender: Address("alice@mx.test"), in: queue.layout)
    #expect(try departing.sweepBounce(into: store) == false)
    #expect(try queue.bounces() == ["52": "<n>:\n\n"])
  }

  @Test("A bounce that comes after the marks is swept and kept")
  func sweep() throws {
    let entry = try queue.entry(53, remote: ["Ta@r.test"], bounce: "one\n")
    try queue.retire(entry, into: store)
    let departing = DepartingEntry(entry, sender: Address("alice@mx.test"), in: queue.layout)
    #expect(try departing.sweepBounce(into: store) == false)
    try queue.write("two\n", to: queue.layout.path(.bounce, 53))
    #expect(try departing.sweepBounce(into: store))
    #expect(try queue.bounces() == [:])
    #expect(try store.bounce(entry) == Array("one\ntwo\n".utf8))
  }

  @Test("Nothing is marked without a copy, and no copy is left unflushed by a mark")
  func neverWithoutCopy() throws {
    let entry = try queue.entry(55, remote: ["Ta@r.test"], bounce: "b\n")
    var retirement = try Retirement.open(entry, sender: Address("alice@mx.test"), in: queue.layout)
    var refused: RetirementRefusal?
    do { _ = try retirement.mark() } catch { refused = error }
    #expect(refused != nil)
    #expect(queue.letters(55) == "T")
    try retirement.copy(into: store, at: entry.birth)
    #expect(!store.isFlushed)
    _ = try retirement.mark()
    #expect(store.isFlushed)
    #expect(queue.letters(55) == "D")
  }

  @Test("The same message is not copied twice")
  func twice() throws {
    let entry = try queue.entry(54, remote: ["Ta@r.test"])
    var first = try Retirement.open(entry, sender: Address("alice@mx.test"), in: queue.layout)
    try first.copy(into: store, at: entry.birth)
    var second = try Retirement.open(entry, sender: Address("alice@mx.test"), in: queue.layout)
    var refused: QuarantineError?
    do { try second.copy(into: store, at: entry.birth) } catch { refused = error }
    #expect(refused?.kind == .exists)
    #expect(try store.contents().messages == [entry])
  }

  @Test(
    "Recipients found in delivery after the marks, and those read ahead with them, are in doubt")
  func doubt() throws {
    // Records of 40 bytes: the read-ahead of 128 bytes holds the first three and the letter of the fourth.
    let names = (0..<8).map { "user\($0)@" + String(repeating: "d", count: 27) + ".test" }
    let entry = try queue.entry(60, remote: names.map { "T" + $0 })
    var retirement = try Retirement.open(entry, sender: Address("alice@mx.test"), in: queue.layout)
    #expect(retirement.recipients[1].offset == 40)
    try retirement.copy(into: store, at: entry.birth)
    let look = try queue.look([
      ("qmail-remote", ["qmail-remote", "d.test", "alice@mx.test", names[1]], nil)
    ])
    let isBusy = retirement.isBusy(look)
    #expect(isBusy)
    _ = try retirement.mark()
    #expect(try retirement.noteDeliveries(look) == 3)
    #expect(
      try store.read(entry).recipients.map(\.state)
        == [.marked, .inDoubt, .inDoubt, .inDoubt, .marked, .marked, .marked, .marked])
  }

  @Test("A recipient file that qmail wrote to after our marks puts its recipients in doubt")
  func writtenLater() throws {
    let entry = try queue.entry(61, local: ["Tl@mx.test"], remote: ["Ta@r.test"])
    var retirement = try Retirement.open(entry, sender: Address("alice@mx.test"), in: queue.layout)
    try retirement.copy(into: store, at: entry.birth)
    _ = try retirement.mark()
    let quiet = try queue.look()
    #expect(try retirement.noteDeliveries(quiet) == 0)
    usleep(20_000)  // file times move by the clock's tick
    try queue.markDone(.local, 61, at: 0)
    #expect(try retirement.noteDeliveries(quiet) == 1)
    #expect(try store.read(entry).recipients.map(\.state) == [.inDoubt, .marked])
  }

  @Test(
    "While another process marks records done, every record ends done and none is lost from the account"
  )
  func concurrentMarks() async throws {
    let records = (0..<300).map { "Tu\($0)@r.test" }
    let entry = try queue.entry(62, remote: records)
    var retirement = try Retirement.open(entry, sender: Address("alice@mx.test"), in: queue.layout)
    try retirement.copy(into: store, at: entry.birth)
    let offsets = retirement.recipients.map(\.offset)
    let path = queue.layout.path(.remote, 62)
    let qmail = Task.detached {
      let file = try Descriptor.open(path, .write)
      for offset in offsets.reversed() { try file.write([0x44], at: offset) }
    }
    let marks = try retirement.mark()
    try await qmail.value
    #expect(marks.marked + marks.foundDone == 300)
    #expect(queue.letters(62) == String(repeating: "D", count: 300))
    let kept = try store.read(entry)
    #expect(kept.count(.marked) == marks.marked && kept.count(.finishedByQmail) == marks.foundDone)
  }
}

func DepartingEntryState(_ entry: EntryIdentity, _ queue: HandsFixture) -> DepartingEntry.State? {
  try? DepartingEntry(entry, sender: Address("alice@mx.test"), in: queue.layout).state()
}
