import Dispatch
import Files
import Glibc
import Mail
import Testing

@testable import QmailQueue

@Suite("Following a queue")
struct WatcherTests {
  private let now = Timestamp(seconds: 1_795_455_660)

  private func poll(_ watcher: QueueWatcher, full: Bool = false) throws -> PollReport {
    try watcher.poll(at: now, fullPass: full)
  }

  /// The observations in short form.
  private func story(_ report: PollReport) -> [String] {
    report.observations.map { observation in
      switch observation.event {
      case .arrival(let entry): "\(entry.isUnprocessed ? "todo" : "whole") \(entry.identity.id)"
      case .processed(let identity): "processed \(identity.id)"
      case .progress(let p):
        "progress \(p.id) \(p.doneLocal)+\(p.doneRemote)"
          + (p.isBouncing ? " failed \(p.failed.map(String.init) ?? "?")" : "")
      case .departure(let id): "gone \(id)"
      default: "other"
      }
    }
  }

  /// Drops what the kernel has to tell, as an overflow would.
  private func loseEvents(_ watcher: QueueWatcher) {
    while watcher.events.take({ _, _ in }) > 0 {}
    _ = watcher.arrivals.collect(atMost: .max)
    watcher.needsPass = true
    watcher.needsRound = true
  }

  @Test("the life of a message, step by step", arguments: [false, true])
  func life(todoIsSplit: Bool) throws {
    let fixture = QueueFixture(todoIsSplit: todoIsSplit)
    let watcher = try QueueWatcher(layout: fixture.layout)
    #expect(watcher.eventDescriptor != nil)
    #expect(try poll(watcher).statistics.wasFullPass)
    let id = fixture.inject(from: "a@b", to: ["x@mx", "c@d", "e@f"])
    #expect(try story(poll(watcher)) == ["todo \(id)"])
    #expect(watcher.counts.unprocessed == 1)
    fixture.takeIn(id, from: "a@b", local: ["x@mx"], remote: ["c@d", "e@f"])
    #expect(try story(poll(watcher)) == ["processed \(id)"])
    #expect(
      watcher.counts
        == QueueCounts(messages: 1, unprocessed: 0, local: 1, remote: 1, bouncing: 0, doneOnly: 0))
    var info = stat()
    lstat(fixture.path(.info, id), &info)
    let slot = try #require(watcher.table.slot(of: id))
    #expect(watcher.table.identity(slot) == EntryIdentity(id: id, birth: info.birth))
    try fixture.markDone(.local, id)
    #expect(try story(poll(watcher)) == ["progress \(id) 1+0"])
    fixture.append("<c@d>:\nno\n\n", fixture.path(.bounce, id))
    try fixture.markDone(.remote, id)
    #expect(try story(poll(watcher)) == ["progress \(id) 1+1 failed 1"])
    fixture.append("<e@f>:\nno\n\n<unfinished", fixture.path(.bounce, id))
    #expect(try story(poll(watcher)) == ["progress \(id) 1+1 failed 2"])
    try fixture.markDone(.remote, id)
    _ = try poll(watcher)
    #expect(watcher.counts.doneOnly == 1 && watcher.counts.bouncing == 1)
    fixture.end(id)
    #expect(try story(poll(watcher)) == ["gone \(id)"])
    #expect(watcher.table.slot(of: id) == nil)
    #expect(try poll(watcher, full: true).observations.isEmpty)
  }

  @Test("a list of very many recipients is counted once a second, a failure told at once")
  func manyRecipients() throws {
    let fixture = QueueFixture()
    let watcher = try QueueWatcher(layout: fixture.layout)
    _ = try poll(watcher)
    func look(after seconds: Double) throws -> [String] {
      try story(watcher.poll(at: now + .milliseconds(Int(seconds * 1000)), fullPass: false))
    }
    let id = fixture.message(
      from: "a@b", remote: (0..<100_000).map { "recipient\($0)@mx\($0).example" })
    #expect(try look(after: 0) == ["whole \(id)"])
    func mark(_ file: Int32, _ record: Int) {
      let letter = (0..<record).reduce(0) { $0 + "Trecipient\($1)@mx\($1).example\0".utf8.count }
      pwrite(file, "D", 1, off_t(letter))
    }
    let file = open(fixture.path(.remote, id), O_WRONLY)
    defer { close(file) }
    mark(file, 0)
    #expect(try look(after: 1) == ["progress \(id) 0+1"])
    mark(file, 1)
    #expect(try look(after: 1.2).isEmpty)
    fixture.append("<c@d>:\nno\n\n", fixture.path(.bounce, id))
    mark(file, 2)
    #expect(try look(after: 1.4) == ["progress \(id) 0+1 failed 1"])
    #expect(try look(after: 1.9).isEmpty)
    #expect(try look(after: 2.1) == ["progress \(id) 0+3 failed 1"])
    #expect(try look(after: 9).isEmpty)
    // A clock that was set back holds nothing up.
    mark(file, 3)
    #expect(try look(after: 0) == ["progress \(id) 0+4 failed 1"])
    #expect(watcher.buffer.capacity <= 1 << 20)
    mark(file, 4)
    fixture.end(id)
    #expect(try look(after: 0.1) == ["gone \(id)"])
    #expect(try look(after: 2).isEmpty)
  }

  @Test("a message taken in before it was looked at arrives whole; one that has gone is missed")
  func quick() throws {
    let fixture = QueueFixture()
    let watcher = try QueueWatcher(layout: fixture.layout)
    _ = try poll(watcher)
    let whole = fixture.message(from: "a@b", remote: ["c@d"])
    #expect(try story(poll(watcher)) == ["whole \(whole)"])
    let missed = fixture.message(from: "a@b", remote: ["c@d"])
    fixture.end(missed)
    let report = try poll(watcher)
    #expect(report.observations.isEmpty && report.statistics.missed == 1)
  }

  @Test("a number that changes hands between two polls is a departure and an arrival")
  func reused() throws {
    let fixture = QueueFixture()
    let watcher = try QueueWatcher(layout: fixture.layout)
    _ = try poll(watcher)
    func make(_ sender: String) {
      fixture.put(.mess, 7, QueueFixture.relayed)
      fixture.put(.intd, 7, "u1\0p2\0F\(sender)\0Tc@d\0")
      link(fixture.path(.intd, 7), fixture.path(.todo, 7))
    }
    make("a@b")
    #expect(try story(poll(watcher)) == ["todo 7"])
    // Taken in, ended, given away, within one batch of events.
    fixture.takeIn(7, from: "a@b", remote: ["c@d"])
    fixture.end(7)
    make("second@b")
    #expect(try story(poll(watcher)) == ["gone 7", "todo 7"])
    fixture.takeIn(7, from: "second@b", remote: ["c@d"])
    #expect(try story(poll(watcher)) == ["processed 7"])
    fixture.end(7)
    make("third@b")
    fixture.takeIn(7, from: "third@b", remote: ["c@d"])
    #expect(try story(poll(watcher)) == ["gone 7", "whole 7"])
    // Twice within one batch: the one between was missed.
    fixture.end(7)
    make("fourth@b")
    fixture.takeIn(7, from: "fourth@b")
    fixture.end(7)
    make("fifth@b")
    let report = try poll(watcher)
    #expect(story(report) == ["gone 7", "todo 7"] && report.statistics.missed == 1)
  }

  @Test(
    "a message is read while it lives, however busy the watcher is, also when its number is used again"
  )
  func busy() throws {
    let fixture = QueueFixture()
    let watcher = try QueueWatcher(layout: fixture.layout)
    _ = try poll(watcher)
    let bell = DispatchSemaphore(value: 0)
    watcher.readArrivals { bell.signal() }
    for (number, sender) in ["a@b", "second@b", "third@b"].enumerated() {
      fixture.put(.mess, 7, QueueFixture.relayed)
      fixture.put(.intd, 7, "u1\0p\(number)\0F\(sender)\0Tc@d\0")
      link(fixture.path(.intd, 7), fixture.path(.todo, 7))
      while watcher.arrivals.waitingCount <= number { usleep(500) }
      fixture.takeIn(7, from: sender, remote: ["c@d"])
      fixture.end(7)
    }
    // One call for all that waits together.
    #expect(bell.wait(timeout: .now() + 10) == .success)
    #expect(bell.wait(timeout: .now()) == .timedOut)
    let report = try poll(watcher)
    #expect(story(report) == ["todo 7", "gone 7", "todo 7", "gone 7", "todo 7", "gone 7"])
    let senders = report.observations.compactMap { observation in
      if case .arrival(let entry) = observation.event { entry.sender } else { nil }
    }
    #expect(senders == [Address("a@b"), Address("second@b"), Address("third@b")])
    #expect(report.statistics.missed == 0 && watcher.counts.messages == 0)
    #expect(try poll(watcher, full: true).observations.isEmpty)
  }

  @Test("the first poll tells everything that stands in the queue; in pieces when asked")
  func first() throws {
    let fixture = QueueFixture()
    var ids: Set<UInt64> = []
    for i in 0..<300 { ids.insert(fixture.message(from: "a@b", remote: ["\(i)@c"])) }
    for i in 0..<10 { ids.insert(fixture.inject(from: "a@b", to: ["\(i)@c"])) }
    let watcher = try QueueWatcher(layout: fixture.layout)
    let later = fixture.inject(from: "late@b", to: ["c@d"])
    ids.insert(later)
    var seen: [UInt64] = []
    var polls = 0
    while true {
      let report = try watcher.poll(at: now, fullPass: false, atMost: polls == 0 ? 1 : 100)
      // Until all names are known, the count of messages is too small.
      if polls == 0 { #expect(!watcher.hasListedAll && watcher.counts.messages < 311) }
      for case .arrival(let entry) in report.observations.map(\.event) {
        seen.append(entry.identity.id)
      }
      polls += 1
      if !report.hasMore { break }
    }
    #expect(Set(seen) == ids && seen.count == ids.count)
    #expect(polls >= 4)
    #expect(watcher.hasListedAll)
    #expect(watcher.counts.messages == 311 && watcher.counts.unprocessed == 11)
  }

  @Test(
    "messages of very many recipients are told a few at a time, so that they do not fill the memory",
    arguments: [0, 60], [false, true])
  func heavy(others: Int, areNew: Bool) throws {
    let fixture = QueueFixture()
    let earlier = areNew ? try QueueWatcher(layout: fixture.layout) : nil
    if let earlier { _ = try poll(earlier) }
    let many = (0..<20_000).map { "\($0)\(String(repeating: "x", count: 200))@mx.example" }
    var ids: Set<UInt64> = []
    for i in 0..<others { ids.insert(fixture.inject(from: "a@b", to: ["\(i)@c"])) }
    for _ in 0..<12 { ids.insert(fixture.inject(from: "list@b", to: many)) }
    let watcher = try earlier ?? QueueWatcher(layout: fixture.layout)
    var seen: [UInt64] = []
    var most = 0
    var hasMore = true
    while hasMore {
      let report = try watcher.poll(at: now, fullPass: false, atMost: 1024)
      var weight = 0
      for case .arrival(let entry) in report.observations.map(\.event) {
        seen.append(entry.identity.id)
        weight += entry.weight
      }
      most = max(most, weight)
      hasMore = report.hasMore
    }
    #expect(Set(seen) == ids && seen.count == ids.count)
    // Each of them weighs more than half of what is held at once.
    #expect(most < 3 * QueueWatcher.mostBytes, "\(most)")
  }

  @Test("of a large queue the young messages are read first, the newest before all")
  func newestFirst() throws {
    let fixture = QueueFixture()
    var birthsByID: [UInt64: Int] = [:]
    let started = Int(WallClock.now().seconds)
    for number in 0..<200 {
      let id = fixture.message(from: "a@b", remote: ["\(number)@c"])
      // Three of four are of yesterday; so few young ones are one thread's.
      let birth = started - (number % 4 == 1 ? number : 86_400)
      birthsByID[id] = birth
      var times = [timespec(tv_sec: birth, tv_nsec: 0), timespec(tv_sec: birth, tv_nsec: 0)]
      utimensat(AT_FDCWD, fixture.path(.info, id), &times, 0)
    }
    let reader = BacklogReader(
      Array(birthsByID.keys), try OpenQueue(fixture.layout), fewest: 1)
    #expect(reader.rest == 200)
    var order: [UInt64] = []
    while !reader.isFinished { order += reader.take(atMost: 7).map(\.id) }
    #expect(Set(order) == Set(birthsByID.keys) && order.count == 200)
    let ages = order.map { started - (birthsByID[$0] ?? 0) }
    #expect(Array(ages.prefix(50)) == Array(stride(from: 1, to: 200, by: 4)))
    #expect(ages.dropFirst(50).allSatisfy { $0 == 86_400 })
    #expect(reader.rest == 0)
  }

  @Test("what happens to a message between its reading and its turn is not lost")
  func betweenReadingAndTurn() throws {
    let fixture = QueueFixture()
    var ids: [UInt64] = []
    for i in 0..<300 { ids.append(fixture.message(from: "a@b", remote: ["\(i)@c", "\(i)@d"])) }
    let watcher = try QueueWatcher(layout: fixture.layout)
    var seen = Set<UInt64>()
    func take(_ report: PollReport) {
      for case .arrival(let entry) in report.observations.map(\.event) {
        seen.insert(entry.identity.id)
      }
    }
    while seen.isEmpty { take(try watcher.poll(at: now, fullPass: false, atMost: 10)) }
    #expect(watcher.unread == 300 - seen.count)
    #expect(watcher.counts.messages == 300)
    // All are read by now, but few have had their turn.
    usleep(300_000)
    let ended = try #require(ids.first { !seen.contains($0) })
    let marked = try #require(ids.last { !seen.contains($0) && $0 != ended })
    fixture.end(ended)
    for _ in 0..<2 { try fixture.markDone(.remote, marked) }
    let new = fixture.inject(from: "new@b", to: ["c@d"])
    while true {
      let report = try watcher.poll(at: now, fullPass: false, atMost: 50)
      take(report)
      if !report.hasMore { break }
    }
    #expect(watcher.unread == 0)
    #expect(watcher.counts.messages == 300 && watcher.counts.unprocessed == 1)
    #expect(watcher.counts.doneOnly == 1)
    #expect(seen.isSuperset(of: Set(ids).subtracting([ended]).union([new])))
    #expect(try poll(watcher, full: true).observations.isEmpty)
  }

  @Test("a full pass makes good what lost events hid")
  func lost() throws {
    let fixture = QueueFixture()
    let watcher = try QueueWatcher(layout: fixture.layout)
    let stays = fixture.message(from: "a@b", remote: ["c@d"])
    let goes = fixture.message(from: "a@b", remote: ["c@d"])
    let waits = fixture.inject(from: "a@b", to: ["c@d"])
    let leaves = fixture.inject(from: "a@b", to: ["c@d"])
    let bounces = fixture.message(from: "a@b", remote: ["c@d"])
    #expect(try poll(watcher).statistics.new == 5)
    fixture.end(goes)
    fixture.takeIn(waits, from: "a@b", remote: ["c@d"])
    fixture.takeIn(leaves, from: "a@b")
    fixture.end(leaves)
    fixture.put(.bounce, bounces, "<c@d>:\nno\n\n")
    try fixture.markDone(.remote, stays)
    let comes = fixture.inject(from: "new@b", to: ["c@d"])
    loseEvents(watcher)
    let story = Set(story(try poll(watcher)))
    var expected: Set = [
      "processed \(waits)", "progress \(bounces) 0+0 failed 1", "progress \(stays) 0+1",
      "todo \(comes)",
    ]
    // The filesystem may have given the new message one of the freed numbers.
    for id in [goes, leaves] { expected.insert("gone \(id)") }
    #expect(story == expected)
    #expect(try poll(watcher, full: true).observations.isEmpty)
  }

  @Test("a full pass finds a number that stands in todo again, unseen")
  func lostReuseInTodo() throws {
    let fixture = QueueFixture()
    fixture.put(.mess, 7, QueueFixture.relayed)
    fixture.put(.info, 7, "Fa@b\0")
    let watcher = try QueueWatcher(layout: fixture.layout)
    _ = try poll(watcher)
    fixture.remove(.info, 7)
    fixture.put(.todo, 7, "u1\0p2\0Fz@b\0Tc@d\0")
    loseEvents(watcher)
    #expect(try story(poll(watcher)) == ["gone 7", "todo 7"])
  }

  @Test("a message that a pass meets before its event is told once")
  func metByPass() throws {
    let fixture = QueueFixture()
    let watcher = try QueueWatcher(layout: fixture.layout)
    _ = try poll(watcher)
    let whole = fixture.message(from: "a@b", remote: ["c@d"])
    let waits = fixture.inject(from: "a@b", to: ["c@d"])
    let between = fixture.inject(from: "a@b", to: ["c@d"])
    let queue = try #require(watcher.queue)
    try watcher.advancePass(queue, atMost: .max)
    watcher.readBacklog(queue, atMost: .max)
    fixture.takeIn(between, from: "a@b", remote: ["c@d"])
    #expect(
      try Set(story(poll(watcher)))
        == ["whole \(whole)", "todo \(waits)", "todo \(between)", "processed \(between)"])
    #expect(watcher.counts.messages == 3)
  }

  @Test("a full pass finds a number that changed hands unseen", arguments: [false, true])
  func lostReuse(sameInfoInode: Bool) throws {
    let fixture = QueueFixture()
    fixture.put(.mess, 7, QueueFixture.relayed)
    fixture.put(.info, 7, "Fa@b\0")
    let watcher = try QueueWatcher(layout: fixture.layout)
    #expect(try story(poll(watcher)) == ["whole 7"])
    // The kernel stamps files by a clock of some milliseconds; no two births in one tick.
    usleep(20_000)
    if sameInfoInode {
      // As when the filesystem gives the inode of the old info file to the new one.
      fixture.put(.info, 7, "Fz@b\0")
    } else {
      fixture.write("Fz@b\0", "\(fixture.queue)/new")
      rename("\(fixture.queue)/new", fixture.path(.info, 7))
    }
    loseEvents(watcher)
    let report = try poll(watcher)
    #expect(story(report) == ["gone 7", "whole 7"])
    #expect(watcher.counts.messages == 1)
  }

  @Test("a quiet directory is not listed again, a changed one is")
  func stamps() {
    let old = Timestamp(seconds: 1000)
    let stamp = DirectoryStamp(modified: old, listed: Timestamp(seconds: 1003))
    #expect(stamp.isCurrent(old))
    #expect(!stamp.isCurrent(Timestamp(seconds: 1001)))
    #expect(!DirectoryStamp(modified: old, listed: Timestamp(seconds: 1001)).isCurrent(old))
    #expect(!DirectoryStamp(modified: old, listed: Timestamp(seconds: 900)).isCurrent(old))
  }

  @Test("a pass lists todo only when it has changed, and goes over the table for what is missing")
  func quietPass() throws {
    let fixture = QueueFixture()
    var ids: [UInt64] = []
    for i in 0..<60 { ids.append(fixture.message(from: "a@b", remote: ["\(i)@c", "\(i)@d"])) }
    let waiting = fixture.inject(from: "a@b", to: ["late@c"])
    let watcher = try QueueWatcher(layout: fixture.layout)
    func age(_ directories: [String]) {
      for directory in directories {
        var times = [timespec(tv_sec: 1000, tv_nsec: 0), timespec(tv_sec: 1000, tv_nsec: 0)]
        utimensat(AT_FDCWD, "\(fixture.queue)/\(directory)", &times, 0)
      }
    }
    age(["todo", "bounce"])
    // The first finds them, the second nothing new.
    for _ in 0..<3 { _ = try poll(watcher, full: true) }
    #expect(watcher.todoStamps.count == 2)
    // What has changed is told by events, so a directory that is listed for it lacks nobody.
    fixture.end(ids[0])
    ids.append(fixture.message(from: "a@b", remote: ["new@c"]))
    _ = try poll(watcher)
    #expect(try poll(watcher, full: true).statistics.compared == 0)
    loseEvents(watcher)
    fixture.end(ids[1])
    loseEvents(watcher)
    let report = try poll(watcher, full: true)
    #expect(report.statistics.compared > 0 && story(report) == ["gone \(ids[1])"])
    fixture.takeIn(waiting, from: "a@b", local: [], remote: ["late@c"])
    loseEvents(watcher)
    #expect(try story(poll(watcher, full: true)) == ["processed \(waiting)"])
    #expect(watcher.counts.unprocessed == 0 && watcher.counts.messages == 60)
  }

  @Test("damage is told once, and the message when it is whole")
  func damage() throws {
    let fixture = QueueFixture()
    fixture.put(.info, 7, "Fa@b")
    fixture.write("x", "\(fixture.queue)/info/2/junk")
    let watcher = try QueueWatcher(layout: fixture.layout)
    #expect(try poll(watcher).damaged.map(\.id) == [7])
    #expect(try poll(watcher, full: true).damaged.isEmpty)
    fixture.put(.mess, 7, QueueFixture.relayed)
    fixture.put(.info, 7, "Fa@b\0")
    #expect(try story(poll(watcher, full: true)) == ["whole 7"])
  }

  @Test("a queue that goes away is an error; when it is back, what happened meanwhile is told")
  func away() throws {
    let fixture = QueueFixture()
    let watcher = try QueueWatcher(layout: fixture.layout)
    let stays = fixture.message(from: "a@b", remote: ["c@d"])
    let goes = fixture.message(from: "a@b", remote: ["c@d"])
    _ = try poll(watcher)
    rename(fixture.queue, "\(fixture.qmail)/away")
    do {
      _ = try poll(watcher)
      Issue.record("no error")
    } catch { #expect((error as? QueueError)?.kind == .noQueue) }
    // Another queue in its place, then the old one again.
    fixture.makeQueue()
    #expect(Set(try story(poll(watcher))) == ["gone \(stays)", "gone \(goes)"])
    rename(fixture.queue, "\(fixture.qmail)/other")
    rename("\(fixture.qmail)/away", fixture.queue)
    fixture.end(goes)
    #expect(try story(poll(watcher)) == ["whole \(stays)"])
    let new = fixture.inject(from: "a@b", to: ["c@d"])
    #expect(try story(poll(watcher)) == ["todo \(new)"])
  }

  @Test(
    "a directory that is missing in the middle is an error that names it, and nothing seen is lost")
  func hole() throws {
    let fixture = QueueFixture()
    let watcher = try QueueWatcher(layout: fixture.layout)
    _ = try poll(watcher)
    let id = fixture.inject(from: "a@b", to: ["c@d"])
    rename("\(fixture.queue)/info/3", "\(fixture.queue)/info.3")
    do {
      _ = try poll(watcher, full: true)
      Issue.record("no error")
    } catch { #expect((error as? QueueError)?.path.hasSuffix("info/3") == true) }
    rename("\(fixture.queue)/info.3", "\(fixture.queue)/info/3")
    #expect(try story(poll(watcher, full: true)) == ["todo \(id)"])
    let next = fixture.message(from: "a@b", remote: ["c@d"])
    #expect(try story(poll(watcher)) == ["whole \(next)"])
    let isComplete = watcher.events.isComplete
    #expect(isComplete)
  }

  @Test("a directory of parts is replaced as a whole: what happens in the new one is seen at once")
  func replacedParts() throws {
    let fixture = QueueFixture()
    let watcher = try QueueWatcher(layout: fixture.layout)
    _ = try poll(watcher)
    let info = "\(fixture.queue)/info"
    mkdir("\(info).new", 0o755)
    for part in 0..<fixture.split { mkdir("\(info).new/\(part)", 0o755) }
    rename(info, "\(info).old")
    rename("\(info).new", info)
    _ = try poll(watcher)
    let id = fixture.message(from: "a@b", remote: ["c@d"])
    #expect(try story(poll(watcher)) == ["whole \(id)"])
    fixture.end(id)
    #expect(try story(poll(watcher)) == ["gone \(id)"])
  }

  @Test("health: no qmail-send here, some space left")
  func health() throws {
    let fixture = QueueFixture()
    let watcher = try QueueWatcher(layout: fixture.layout)
    guard case .health(let health) = watcher.health(at: now).event else {
      Issue.record("no health")
      return
    }
    #expect(health.senderIsRunning != true)
    #expect(health.freeSpace > 0 && health.freeSpace <= 1)
    #expect(health.freeInodes > 0 && health.freeInodes <= 1)
    let lock = try FileLock.take("\(fixture.queue)/lock/sendmutex")
    #expect(QmailSend.isRunning(try fixture.layout) != false)
    _ = consume lock
  }

  @Test("the table keeps up with a dictionary through random changes")
  func table() {
    var table = EntryTable()
    var model: [UInt64: Int64] = [:]
    var state: UInt64 = 88_172_645_463_325_252
    func next(_ bound: UInt64) -> UInt64 {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return state % bound
    }
    var isSound = true
    for step in 0..<40_000 {
      let id = next(3000) * 23
      if let slot = table.slot(of: id) {
        isSound = isSound && table.birth(slot).nanoseconds == model[id]
        if next(2) == 0 {
          table.remove(slot)
          model[id] = nil
        }
      } else {
        isSound = isSound && model[id] == nil
        table.insert(
          EntryIdentity(id: id, birth: Timestamp(nanoseconds: Int64(step))), infoInode: id, [])
        model[id] = Int64(step)
      }
      isSound = isSound && table.count == model.count
    }
    #expect(isSound)
    for (id, birth) in model {
      #expect(table.slot(of: id).map { table.birth($0).nanoseconds } == birth)
    }
  }
}
