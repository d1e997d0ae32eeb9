import Files
import Glibc
import Mail
import Testing

@testable import QmailQueue

@Suite("Recovery after a kill")
struct RecoveryTests {
  let sender = Address("alice@mx.test")

  /// Where the process was killed.
  enum Kill: CaseIterable {
    case beforeCopy, messageOnly, afterCopy, afterSync, bounceAside, bounceAsideAndCopied
  }

  @Test(
    "Killed before the first mark: the queue is as it was and nothing is left over",
    arguments: Kill.allCases)
  func beforeMarks(_ kill: Kill) throws {
    let queue = try HandsFixture()
    let entry = try queue.entry(5, remote: ["Ta@r.test", "Db@r.test"], bounce: "<b>:\nno\n\n")
    do {
      let store = try queue.store()
      var retirement = try Retirement.open(entry, sender: sender, in: queue.layout)
      switch kill {
      case .beforeCopy: break
      case .messageOnly:
        try queue.write("Rece", to: "\(queue.storePath)/\(QuarantineStore.name(entry, "message"))")
      case .afterCopy: try retirement.copy(into: store, at: entry.birth, boot: "boot")
      case .afterSync:
        try retirement.copy(into: store, at: entry.birth, boot: "boot")
        try store.syncBatch()
      case .bounceAside:
        try retirement.copy(into: store, at: entry.birth, boot: "boot")
        rename(
          queue.layout.path(.bounce, 5),
          "\(queue.queue)/bounce/qwarden.5.\(entry.birth.nanoseconds)")
      case .bounceAsideAndCopied:
        try retirement.copy(into: store, at: entry.birth, boot: "boot")
        try retirement.moveBounceAside(into: store)
        try store.syncBatch()
      }
    }
    let store = try queue.store()
    let outcome = try Recovery.finish(
      entry, in: queue.layout, store: store, look: try queue.look(), boot: "boot")
    #expect(outcome == .abandoned)
    #expect(queue.letters(5) == "TD")
    #expect(try queue.bounces() == ["5": "<b>:\nno\n\n"])
    #expect(try store.contents() == QuarantineStore.Contents())
  }

  @Test(
    "Killed anywhere in the marks: finished forward, and each recipient is counted as what it is",
    arguments: [nil, 0, 1, 2] as [Int?], [false, true])
  func everyPoint(finishedByQmail: Int?, hasLeft: Bool) throws {
    // For three recipients, every point between two writes: note, mark, note, mark … with qmail finishing one by itself.
    for writes in 0...7 {
      try point(writes: writes, finishedByQmail: finishedByQmail, hasLeft: hasLeft)
    }
  }

  /// - Parameter writes: how many of [M0 D0 M1 D1 M2 D2 K] were made before the kill.
  private func point(writes: Int, finishedByQmail: Int?, hasLeft: Bool) throws {
    let queue = try HandsFixture()
    let store = try queue.store()
    let entry = try queue.entry(
      7, local: ["Ta@r.test"], remote: ["Tb@r.test", "Tc@r.test"], bounce: "<z>:\nno\n\n")
    let offsets: [(QueueFile, Int64)] = [(.local, 0), (.remote, 0), (.remote, 10)]
    do {
      var retirement = try Retirement.open(entry, sender: sender, in: queue.layout)
      try retirement.copy(into: store, at: entry.birth, boot: "boot")
      try retirement.moveBounceAside(into: store)
      try store.syncBatch()
    }
    if let index = finishedByQmail {
      try queue.markDone(offsets[index].0, 7, at: offsets[index].1)
    }
    var cutOff: Int?
    do {
      var envelope = try store.open(entry)
      for write in 0..<writes {
        let index = write / 2
        if write == 6 {
          try envelope.set(QuarantinedMessage.Phase.marked)
        } else if index == finishedByQmail {
          try envelope.set(.finishedByQmail, of: index)
        } else if write % 2 == 0 {
          try envelope.set(.marked, of: index)
          cutOff = index
        } else {
          try queue.markDone(offsets[index].0, 7, at: offsets[index].1)
          // The kill right after the mark looks the same as one right before it in which qmail finished.
          cutOff = writes == write + 1 ? index : nil
        }
      }
      if writes == 7 { cutOff = nil }
    }
    if hasLeft { queue.finish(7) }
    let what = "writes \(writes), qmail's \(finishedByQmail as Int?), left \(hasLeft)" as Comment

    let again = try queue.store()
    let outcome = try Recovery.finish(
      entry, in: queue.layout, store: again, look: try queue.look(), boot: "boot")
    switch outcome {
    case .abandoned:
      #expect(!hasLeft, what)
      #expect(queue.letters(7).count { $0 == "T" } == (finishedByQmail == nil ? 3 : 2), what)
      #expect(try queue.bounces() == ["7": "<z>:\nno\n\n"], what)
      #expect(try again.contents() == QuarantineStore.Contents(), what)
    case .finishedByQmail:
      #expect(hasLeft, what)
      #expect(try again.contents() == QuarantineStore.Contents(), what)
      #expect(try queue.bounces() == [:], what)
    case .quarantined:
      #expect(!queue.letters(7).contains("T"), what)
      #expect(try queue.bounces() == [:], what)
      let kept = try again.read(entry)
      #expect(kept.phase == .marked, what)
      #expect(kept.count(.pending) == 0, what)
      for (index, recipient) in kept.recipients.enumerated() {
        switch recipient.state {
        case .finishedByQmail:
          // Only what qmail did itself, or what it must have done as the entry left before our mark.
          let wasNoted = index < (writes + 1) / 2
          #expect(index == finishedByQmail || (hasLeft && !wasNoted), what)
        case .inDoubt:
          // Of an entry that left before the last look, nobody knows whether a delivery was under way.
          #expect(
            index == cutOff || (index == finishedByQmail && hasLeft) || (hasLeft && writes < 7),
            what)
        case .marked: #expect(index != finishedByQmail, what)
        default: Issue.record(what)
        }
      }
      // Finishing again changes nothing.
      let second = try Recovery.finish(
        entry, in: queue.layout, store: again, look: try queue.look(), boot: "boot")
      #expect(second == .quarantined(markedNow: 0), what)
      #expect(try again.read(entry) == kept, what)
    case .postponed: Issue.record(what)
    }
  }

  @Test(
    "Half marked and another recipient in delivery: postponed, and no state is lost by asking again"
  )
  func postponed() throws {
    let queue = try HandsFixture()
    let store = try queue.store()
    let entry = try queue.entry(8, remote: ["Ta@r.test", "Tb@r.test", "Tc@r.test"])
    do {
      var retirement = try Retirement.open(entry, sender: sender, in: queue.layout)
      try retirement.copy(into: store, at: entry.birth, boot: "boot")
      var envelope = try store.open(entry)
      for index in 0..<2 {
        try envelope.set(.marked, of: index)
        try queue.markDone(.remote, 8, at: Int64(index * 10))
      }
    }
    let busy = try queue.look([
      ("qmail-remote", ["qmail-remote", "r.test", "alice@mx.test", "c@r.test"], nil)
    ])
    for _ in 0..<3 {
      let outcome = try Recovery.finish(
        entry, in: queue.layout, store: store, look: busy, boot: "boot")
      #expect(outcome == .postponed)
    }
    let outcome = try Recovery.finish(
      entry, in: queue.layout, store: store, look: try queue.look(), boot: "boot")
    #expect(outcome == .quarantined(markedNow: 1))
    let states = try store.read(entry).recipients.map(\.state)
    #expect(states == [.marked, .marked, .marked])
  }

  @Test(
    "Of the last recipient noted before the kill, a mark at once is ours and a later one is in doubt"
  )
  func lastNoted() throws {
    for isLate in [false, true] {
      let queue = try HandsFixture()
      let store = try queue.store()
      let entry = try queue.entry(15, remote: ["Ta@r.test", "Tb@r.test"])
      do {
        var retirement = try Retirement.open(entry, sender: sender, in: queue.layout)
        try retirement.copy(into: store, at: entry.birth, boot: "boot")
        try store.syncBatch()
        var envelope = try store.open(entry)
        try envelope.set(.marked, of: 0)
        if isLate { usleep(60_000) }
        try queue.markDone(.remote, 15, at: 0)
      }
      let outcome = try Recovery.finish(
        entry, in: queue.layout, store: store, look: try queue.look(), boot: "boot")
      #expect(outcome == .quarantined(markedNow: 1))
      #expect(
        try store.read(entry).recipients.map(\.state) == [isLate ? .inDoubt : .marked, .marked])
    }
  }

  @Test(
    "Killed after the marks with a delivery under way: who may have got it is in doubt",
    arguments: ["still running", "ended meanwhile", "ended, and the entry left"])
  func deliveryUnderWay(_ course: String) throws {
    let queue = try HandsFixture()
    let store = try queue.store()
    let entry = try queue.entry(16, local: ["Tl@mx.test"], remote: ["Ta@r.test"])
    do {
      var retirement = try Retirement.open(entry, sender: sender, in: queue.layout)
      try retirement.copy(into: store, at: entry.birth, boot: "boot")
      _ = try retirement.mark()
    }
    var look = try queue.look()
    switch course {
    case "still running":
      look = try queue.look([
        ("qmail-remote", ["qmail-remote", "r.test", "alice@mx.test", "a@r.test"], nil)
      ])
    default:
      usleep(60_000)
      try queue.markDone(.remote, 16, at: 0)
      if course.hasSuffix("left") { queue.finish(16) }
    }
    let outcome = try Recovery.finish(
      entry, in: queue.layout, store: store, look: look, boot: "boot")
    #expect(outcome == .quarantined(markedNow: 0))
    let states = try store.read(entry).recipients.map(\.state)
    #expect(states == [course.hasSuffix("left") ? .inDoubt : .marked, .inDoubt])
  }

  @Test("A delivery that began while recovery made its marks puts its recipient in doubt")
  func deliveryBegan() throws {
    let queue = try HandsFixture()
    let store = try queue.store()
    let entry = try queue.entry(17, remote: ["Ta@r.test", "Tb@r.test"])
    do {
      var retirement = try Retirement.open(entry, sender: sender, in: queue.layout)
      try retirement.copy(into: store, at: entry.birth, boot: "boot")
      var envelope = try store.open(entry)
      try envelope.set(.marked, of: 0)
      try queue.markDone(.remote, 17, at: 0)
    }
    let before = try queue.look()
    let after = try queue.look([
      ("qmail-remote", ["qmail-remote", "r.test", "alice@mx.test", "b@r.test"], nil)
    ])
    let outcome = try Recovery.finish(
      entry, in: queue.layout, store: store, look: before, boot: "boot"
    ) { () throws(RetirementRefusal) in after }
    #expect(outcome == .quarantined(markedNow: 1))
    #expect(try store.read(entry).recipients.map(\.state) == [.marked, .inDoubt])
    #expect(try store.read(entry).phase == .marked)
  }

  @Test("After a restart of the machine what cannot be known is in doubt, not lost and not doubled")
  func restarted() throws {
    let queue = try HandsFixture()
    let store = try queue.store()
    let entry = try queue.entry(9, remote: ["Ta@r.test", "Tb@r.test", "Tc@r.test"])
    do {
      var retirement = try Retirement.open(entry, sender: sender, in: queue.layout)
      try retirement.copy(into: store, at: entry.birth, boot: "before")
      var envelope = try store.open(entry)
      try envelope.set(.marked, of: 0)
    }
    // Our note of the second mark never reached the disk, its mark did; the first one the other way round.
    try queue.markDone(.remote, 9, at: 10)
    let outcome = try Recovery.finish(
      entry, in: queue.layout, store: store, look: try queue.look(), boot: "after")
    #expect(outcome == .quarantined(markedNow: 2))
    #expect(try store.read(entry).recipients.map(\.state) == [.marked, .inDoubt, .marked])
  }

  @Test("Marks lost with the machine are noticed and made again")
  func marksLost() throws {
    let queue = try HandsFixture()
    let store = try queue.store()
    let entry = try queue.entry(12, remote: ["Ta@r.test", "Tb@r.test", "Tc@r.test"])
    try queue.retire(entry, into: store)
    var envelope = try store.open(entry)
    try envelope.set(.inDoubt, of: 2)
    for offset in [10, 20] {
      try Descriptor.open(queue.layout.path(.remote, 12), .write).write([0x54], at: Int64(offset))
    }
    #expect(DepartingEntryState(entry, queue) == .marksLost(2))
    let outcome = try Recovery.finish(
      entry, in: queue.layout, store: store, look: try queue.look(), boot: "after")
    #expect(outcome == .quarantined(markedNow: 1))
    #expect(try store.read(entry).recipients.map(\.state) == [.marked, .marked, .inDoubt])
    #expect(queue.letters(12) == "DDD")
  }

  @Test("Marks lost with the machine are made again where one recipient file is gone already")
  func marksLostInOneChannel() throws {
    let queue = try HandsFixture()
    let store = try queue.store()
    let entry = try queue.entry(12, local: ["Tx@mx.test"], remote: ["Ta@r.test", "Tb@r.test"])
    try queue.retire(entry, into: store)
    unlink(queue.layout.path(.local, 12))
    try Descriptor.open(queue.layout.path(.remote, 12), .write).write([0x54], at: 10)
    let outcome = try Recovery.finish(
      entry, in: queue.layout, store: store, look: try queue.look(), boot: "after")
    #expect(outcome == .quarantined(markedNow: 1))
    #expect(try store.read(entry).recipients.allSatisfy { $0.state == .marked })
    #expect(queue.letters(12) == "DD")
  }

  @Test("While the queue's disk is not mounted no entry has left")
  func queueAway() throws {
    let queue = try HandsFixture()
    let store = try queue.store()
    let entry = try queue.entry(12, remote: ["Ta@r.test"])
    try queue.retire(entry, into: store)
    let departing = DepartingEntry(entry, sender: sender, in: queue.layout)
    let info = "\(queue.layout.queue)/info/\(12 % queue.layout.split)"
    #expect(rename(info, "\(info).away") == 0)
    #expect(throws: RetirementRefusal.self) { try departing.state() }
    #expect(rename(queue.layout.queue, "\(queue.layout.queue).away") == 0)
    #expect(throws: RetirementRefusal.self) { try departing.state() }
    #expect(rename("\(queue.layout.queue).away", queue.layout.queue) == 0)
    #expect(rename("\(info).away", info) == 0)
    #expect(try departing.state() == .leaving)
    try DepartingEntry.secureDepartures(of: [entry], in: queue.layout)
  }

  @Test("An envelope that cannot be read is reported, and nothing is removed")
  func damaged() throws {
    let queue = try HandsFixture()
    let store = try queue.store()
    let entry = try queue.entry(13, remote: ["Ta@r.test"])
    try queue.retire(entry, into: store)
    let path = "\(queue.storePath)/\(QuarantineStore.name(entry, "mail"))"
    let text = try #require(queue.read(path))
    try queue.write(String(text.dropLast(3)), to: path)
    var refused: RetirementRefusal?
    let look = try queue.look()
    do throws(RetirementRefusal) {
      _ = try Recovery.finish(entry, in: queue.layout, store: store, look: look, boot: "boot")
    } catch { refused = error }
    guard case .store(let error) = refused else {
      Issue.record("\(refused as RetirementRefusal?)")
      return
    }
    #expect(error.kind == .damaged)
    #expect(try store.contents().messages == [entry])

    // Emptied by a power failure before the first flush: nothing was marked, so it is as if there were no copy.
    let other = try queue.entry(14, remote: ["Ta@r.test"])
    try queue.write("", to: "\(queue.storePath)/\(QuarantineStore.name(other, "mail"))")
    let outcome = try Recovery.finish(
      other, in: queue.layout, store: store, look: try queue.look(), boot: "boot")
    #expect(outcome == .abandoned)
    #expect(queue.letters(14) == "T")
    #expect(try store.contents().messages == [entry])
  }
}
