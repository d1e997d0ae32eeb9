import Files
import Foundation
import Mail
import QmailQueue

/// Every benchmark, on one queue.
struct Comparisons {
  let bench: Bench
  let queue: TestQueue

  func run(_ tell: (Result) -> Void) throws -> [Result] {
    var results: [Result] = []
    func add(_ some: [Result]) {
      some.forEach(tell)
      results += some
    }
    let bin = "\(bench.qmail)/bin"
    let hasQmail = getenv("BENCH_IS_INSIDE") != nil
    let stat = Command(bench.qwarden, "stat", "--qmail", queue.qmail)
    let qread = Command(bench.qwarden, "list", "--format", "qread", "--qmail", queue.qmail)
    let list = Command(bench.qwarden, "list", "--qmail", queue.qmail)
    let headers = Command(bench.qwarden, "list", "--headers", "--qmail", queue.qmail)
    let floorNames = Command(TestQueue.floor, "names", "\(queue.queue)/mess", "\(queue.queue)/todo")
    let floorRead1 = Command(TestQueue.floor, "read", queue.queue, "1")
    let floorRead2 = Command(TestQueue.floor, "read", queue.queue, "2")
    let qmailQread = hasQmail ? Command("\(bin)/qmail-qread") : nil
    let once = Command(
      bench.qwarden, "run", "--once", "--qmail", queue.qmail, "--state", "\(queue.qmail)/state",
      "--policy",
      "\(queue.qmail)/policy.yaml")
    try "log:\n  source: none\n".write(
      toFile: "\(queue.qmail)/policy.yaml", atomically: false, encoding: .utf8)

    let comparisons: [(String, Command, [(String, Command?)])] = [
      (
        "stat", stat,
        [
          ("qmail-qstat", hasQmail ? Command("\(bin)/qmail-qstat") : nil),
          (
            "find | wc",
            Command(
              "/bin/sh", "-c",
              "cd \"$0\" && find mess -type f | wc -l && find todo -type f | wc -l",
              queue.queue)
          ),
          ("getdents in C", floorNames),
        ]
      ),
      (
        "list --format qread", qread,
        [
          ("qmail-qread", qmailQread), ("open and read in C", floorRead1),
          ("open and read in C, 2 threads", floorRead2),
        ]
      ),
      ("list", list, [("qmail-qread", qmailQread), ("open and read in C, 2 threads", floorRead2)]),
      (
        "list --headers", headers,
        [("qmHandle -l", hasQmail ? Command.find("qmHandle").map { Command($0, "-l") } : nil)]
      ),
      ("cold start", once, [("qmail-qread", qmailQread)]),
    ]
    for isCold in [false, true] {
      if isCold, bench.isWarmOnly || !TestQueue.dropCaches() { continue }
      for (name, ours, others) in comparisons {
        add(try compare(name, ours, others, isCold: isCold))
      }
    }
    add(try polls())
    add(try memory())
    add(try quarantine())
    add(try replay())
    return results
  }

  /// Setting aside with everything that makes it safe, beside a plain copy of the same messages that is flushed at the end.
  private func quarantine() throws -> [Result] {
    let some = try TestQueue(min(queue.size, 100_000), in: bench.directory, standingIn: nil)
    defer { some.remove() }
    // As if qmail-send ran: else the messages would be removed in its stead too.
    let lock = open("\(some.queue)/lock/sendmutex", O_WRONLY | O_CLOEXEC)
    defer { close(lock) }
    guard lock >= 0, flock(lock, LOCK_EX | LOCK_NB) == 0 else {
      throw Failure("\(some.queue)/lock/sendmutex: cannot be locked")
    }
    let theirs = try Command(
      "/bin/sh", "-c", "cp -r \"$0/queue/mess\" \"$0/copy\" && sync -f \"$0/copy\"", some.qmail
    ).time()
    let ours = try Command(
      bench.qwarden, "quarantine", "--all", "--yes", "--qmail", some.qmail, "--state",
      "\(some.qmail)/state", "--policy", "\(queue.qmail)/policy.yaml"
    ).time()
    return [
      Result(
        name: "quarantine", size: some.size, ours: ours, other: "cp and sync",
        theirs: theirs, ratio: ours / theirs)
    ]
  }

  /// A day of ordinary mail, as many messages as the queue holds, through the detector.
  private func replay() throws -> [Result] {
    let help = Command(bench.qwarden, "replay", "--help")
    guard (try? help.time()) != nil else { return [] }
    let path = "\(queue.qmail)/trace.jsonl"
    let begun = 1_795_392_000.0
    var lines =
      #"{"t":\#(begun),"event":"trace","version":1,"host":"mx.test","local_domains":["mx.test"],"started":"2026-11-23T00:00:00Z"}"#
      + "\n"
    for number in 0..<queue.size {
      let t = begun + 86_400 * Double(number) / Double(queue.size)
      lines +=
        #"{"t":\#(t),"event":"arrival","id":\#(number % 5000 + 1),"birth":\#(t),"size":1400,"sender":"user\#(number % 300)@mx.test","source":{"via":"network","client":"198.51.100.\#(number % 200)","helo":"pc","user":"user\#(number % 300)"},"list":false,"subject":"hello \#(number)","local":[],"remote":["x\#(number % 9000)@d\#(number % 700).example"]}"#
        + "\n" + #"{"t":\#(t + 2),"event":"departure","id":\#(number % 5000 + 1)}"# + "\n"
    }
    try lines.write(toFile: path, atomically: false, encoding: .utf8)
    var times: [Double] = []
    for _ in 0..<3 {
      times.append(
        try Command(
          bench.qwarden, "replay", path, "--policy", "\(queue.qmail)/policy.yaml"
        ).time())
    }
    return [Result(name: "replay of a day", size: queue.size, ours: times.median)]
  }

  /// Runs ours and theirs in turn; the ratio is the median of the turns' ratios.
  private func compare(
    _ name: String, _ ours: Command, _ others: [(name: String, command: Command?)], isCold: Bool
  ) throws -> [Result] {
    let runs = isCold ? min(bench.runs, 3) : bench.runs
    func time(_ command: Command) throws -> Double {
      if isCold { _ = TestQueue.dropCaches() }
      return try command.time()
    }
    if !isCold {
      for command in [ours] + others.compactMap(\.command) { _ = try command.time() }
    }
    var mine: [Double] = []
    var theirs = others.map { _ in [Double]() }
    for _ in 0..<runs {
      mine.append(try time(ours))
      for (place, other) in others.enumerated() {
        if let command = other.command { theirs[place].append(try time(command)) }
      }
    }
    return others.enumerated().map { place, other in
      Result(
        name: name, size: queue.size, isCold: isCold, ours: mine.median, other: other.name,
        theirs: other.command == nil ? nil : theirs[place].median,
        ratio: other.command == nil ? nil : zip(mine, theirs[place]).map { $0 / $1 }.median)
    }
  }

  /// What one look of the daemon costs, its own thread for arrivals left out.
  private func polls() throws -> [Result] {
    let watcher = try QueueWatcher(layout: try QueueLayout.read(qmail: queue.qmail))
    func poll(fullPass: Bool = false) throws -> Double {
      let begun = now()
      var report = try watcher.poll(at: WallClock.now(), fullPass: fullPass, atMost: 1024)
      var longest = now() - begun
      while report.hasMore {
        let begun = now()
        report = try watcher.poll(at: WallClock.now(), fullPass: false, atMost: 1024)
        longest = max(longest, now() - begun)
      }
      return longest
    }
    _ = try poll()
    var idle: [Double] = []
    for _ in 0..<101 { idle.append(try poll()) }
    var results = [Result(name: "poll, no change", size: queue.size, ours: idle.median)]
    let changes = min(1000, queue.size / 2)
    var changed: [Double] = []
    let churn = try Churn(queue.queue)
    for _ in 0..<5 {
      try churn.change(changes)
      changed.append(try poll())
    }
    results.append(Result(name: "poll, \(changes) changes", size: queue.size, ours: changed.median))
    var passes: [Double] = []
    var names: [Double] = []
    let floor = Command(
      TestQueue.floor, "names", "\(queue.queue)/info", "\(queue.queue)/todo",
      "\(queue.queue)/bounce")
    for _ in 0..<5 {
      // Stamps of directories that have just been changed are not trusted: every name is walked.
      try churn.change(46)
      passes.append(try poll(fullPass: true))
      names.append(try floor.time())
    }
    results.append(
      Result(
        name: "longest poll of a full pass", size: queue.size, ours: passes.median,
        other: "names in C",
        theirs: names.median, ratio: zip(passes, names).map { $0 / $1 }.median))
    return results
  }

  /// Resident memory of the daemon over that of one that watches an empty queue.
  private func memory() throws -> [Result] {
    let empty = try TestQueue(0, in: bench.directory, standingIn: nil)
    defer { empty.remove() }
    let base = try resident(empty)
    let full = try resident(queue)
    return [
      Result(
        name: "memory a message", size: queue.size, ours: Double(full - base) / Double(queue.size),
        unit: "B"),
      Result(
        name: "memory over an empty queue", size: queue.size, ours: Double(full - base) / 1e6,
        unit: "MB"),
    ]
  }

  private func resident(_ queue: TestQueue) throws -> Int {
    let state = "\(queue.qmail)/daemon"
    try "log:\n  source: none\n".write(
      toFile: "\(queue.qmail)/policy.yaml", atomically: false, encoding: .utf8)
    let daemon = try Command(
      bench.qwarden, "run", "--qmail", queue.qmail, "--state", state, "--policy",
      "\(queue.qmail)/policy.yaml"
    ).start()
    defer {
      daemon.terminate()
      daemon.waitUntilExit()
    }
    let end = now() + 600
    while now() < end {
      usleep(200_000)
      guard let data = FileManager.default.contents(atPath: "\(state)/status.json"),
        let status = try? JSONSerialization.jsonObject(with: data) as? [String: Any],
        let counts = status["queue"] as? [String: Any], let messages = counts["messages"] as? Int,
        counts["unread"] as? Int == 0
      else { continue }
      // The polls before have taken some from the queue and added as many.
      if messages >= queue.size {
        sleep(3)
        let statm = try String(
          contentsOfFile: "/proc/\(daemon.processIdentifier)/statm", encoding: .utf8)
        return (statm.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0)
          * Int(getpagesize())
      }
    }
    throw Failure("the daemon did not take in \(queue.size) messages within ten minutes")
  }
}

/// Changes a queue as qmail does: a third of the changes each are arrivals, departures and recipients done.
struct Churn {
  let queue: String

  init(_ queue: String) throws { self.queue = queue }

  func change(_ count: Int) throws {
    let known = try FileManager.default.contentsOfDirectory(
      atPath: "\(queue)/info/\(Int.random(in: 0..<23))"
    )
    .compactMap { UInt64($0) }
    var ids = known.shuffled()[...]
    var parts = Array(0..<23)
    while ids.count < count * 2 / 3, let part = parts.popLast() {
      ids += try FileManager.default.contentsOfDirectory(atPath: "\(queue)/info/\(part)").compactMap
      { UInt64($0) }
    }
    for number in 0..<count {
      switch number % 3 {
      case 0: try arrive(number)
      case 1:
        guard let id = ids.popFirst() else { continue }
        for kind in ["remote", "info", "mess"] { unlink("\(queue)/\(kind)/\(id % 23)/\(id)") }
      default:
        guard let id = ids.popFirst() else { continue }
        let file = open("\(queue)/remote/\(id % 23)/\(id)", O_WRONLY)
        if file >= 0 {
          pwrite(file, "D", 1, 0)
          close(file)
        }
      }
    }
  }

  private func arrive(_ number: Int) throws {
    let new = "\(queue)/pid/new"
    try
      "Received: (qmail \(number) invoked by uid 1000); 24 Nov 2026 12:00:00 -0000\nSubject: new\n\ntext\n"
      .write(toFile: new, atomically: false, encoding: .utf8)
    var status = stat()
    lstat(new, &status)
    let id = UInt64(status.st_ino)
    rename(new, "\(queue)/mess/\(id % 23)/\(id)")
    try "u1000\0p\(number)\0Fnew@mx.test\0Tx\(number)@d.example\0"
      .write(toFile: "\(queue)/intd/\(id)", atomically: false, encoding: .utf8)
    link("\(queue)/intd/\(id)", "\(queue)/todo/\(id)")
  }
}
