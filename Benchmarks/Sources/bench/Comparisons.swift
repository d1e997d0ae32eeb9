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
    func floorNames(_ threads: String) -> Command {
      Command(TestQueue.floor, "names", threads, "\(queue.queue)/mess", "\(queue.queue)/todo")
    }
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
          ("getdents in C", floorNames("1")), ("getdents in C, 2 threads", floorNames("2")),
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
      ("run --once", once, [("qmail-qread", qmailQread)]),
    ]
    for isCold in [false, true] {
      if isCold, bench.isWarmOnly || !TestQueue.dropCaches() { continue }
      for (name, ours, others) in comparisons {
        add(try compare(name, ours, others, isCold: isCold))
      }
    }
    add(try polls())
    add(try looks())
    add(try memory())
    add(try quarantine())
    add(try replay())
    return results
  }

  /// Setting aside with everything that makes it safe, beside a plain copy of the same messages that is flushed at the end.
  private func quarantine() throws -> [Result] {
    // Removed at the end only: making files is dear where many have just been deleted (see docs/PERFORMANCE.md).
    var queues: [TestQueue] = []
    defer { for queue in queues { queue.remove() } }
    var mine: [Double] = []
    var theirs: [Double] = []
    for turn in 0..<3 {
      let some = try TestQueue(min(queue.size, 100_000), in: bench.directory, standingIn: nil)
      queues.append(some)
      // As if qmail-send ran: else the messages would be removed in its stead too.
      let lock = try some.holdLock()
      defer { close(lock) }
      /// Neither pays for what was written before it.
      func time(_ command: Command) throws -> Double {
        _ = try Command("/bin/sh", "-c", "sync -f \"$0\"", some.qmail).time()
        return try command.time()
      }
      func copy() throws -> Double {
        try time(
          Command(
            "/bin/sh", "-c", "cp -r \"$0/queue/mess\" \"$0/copy\" && sync -f \"$0/copy\"",
            some.qmail))
      }
      func setAside() throws -> Double {
        try time(
          Command(
            bench.qwarden, "quarantine", "--all", "--yes", "--qmail", some.qmail, "--state",
            "\(some.qmail)/state", "--policy", "\(queue.qmail)/policy.yaml"))
      }
      if turn % 2 == 0 {
        theirs.append(try copy())
        mine.append(try setAside())
      } else {
        mine.append(try setAside())
        theirs.append(try copy())
      }
    }
    return [
      Result(
        name: "quarantine", size: queues[0].size, ours: mine.median, other: "cp and sync",
        theirs: theirs.median, ratio: zip(mine, theirs).map { $0 / $1 }.median)
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

  /// What finding and reading changes costs, without the rest of the daemon and its thread for arrivals.
  private func polls() throws -> [Result] {
    let watcher = try QueueWatcher(layout: try QueueLayout.read(qmail: queue.qmail))
    /// Polls until all is told.
    func poll(fullPass: Bool = false) throws -> (longest: Double, sum: Double) {
      var (longest, sum) = (0.0, 0.0)
      var isFirst = true
      while true {
        let begun = now()
        let report = try watcher.poll(
          at: WallClock.now(), fullPass: fullPass && isFirst, atMost: 1024)
        longest = max(longest, now() - begun)
        sum += now() - begun
        isFirst = false
        if !report.hasMore { return (longest, sum) }
      }
    }
    _ = try poll()
    var idle: [Double] = []
    for _ in 0..<101 { idle.append(try poll().longest) }
    var results = [Result(name: "watcher's poll, no change", size: queue.size, ours: idle.median)]
    var changed: [Double] = []
    let churn = Churn(queue.queue)
    for _ in 0..<5 {
      try churn.change(changes)
      changed.append(try poll().longest)
    }
    results.append(
      Result(name: "watcher's poll, \(changes) changes", size: queue.size, ours: changed.median))
    var passes: [(longest: Double, sum: Double)] = []
    var names: [Double] = []
    let floor = Command(
      TestQueue.floor, "names", "1", "\(queue.queue)/info", "\(queue.queue)/todo",
      "\(queue.queue)/bounce")
    for _ in 0..<5 {
      // Stamps of directories that have just been changed are not trusted: every name is walked.
      try churn.change(46)
      passes.append(try poll(fullPass: true))
      names.append(try floor.time())
    }
    results.append(
      Result(
        name: "longest poll of a full pass", size: queue.size, ours: passes.map(\.longest).median))
    results.append(
      Result(
        name: "all polls of a full pass", size: queue.size, ours: passes.map(\.sum).median,
        other: "getdents in C", theirs: names.median,
        ratio: zip(passes, names).map { $0.sum / $1 }.median))
    return results
  }

  private var changes: Int { min(1000, queue.size / 2) }

  /// What the daemon itself says of the look that follows many changes: it is stopped while they are made, so that one look finds them all.
  private func looks() throws -> [Result] {
    // As if qmail-send ran, and without a tick that comes between: what was said of the look is overwritten by the next.
    let lock = try queue.holdLock()
    defer { close(lock) }
    let churn = Churn(queue.queue)
    var looks: [Double] = []
    try withDaemon(on: queue, policy: "polling:\n  normal: 10s\n  storm: 10s\n") { daemon, status in
      // A look that was overwritten all the same is none.
      for _ in 0..<12 where looks.count < 5 {
        let before = status()?.lastLook.seen ?? 0
        kill(daemon, SIGSTOP)
        try churn.change(changes)
        // Its report of the look is put off for a second after the one before.
        usleep(1_200_000)
        kill(daemon, SIGCONT)
        let end = now() + 2
        while now() < end {
          usleep(500)
          guard let look = status()?.lastLook, look.seen > before, look.new >= changes / 4 else {
            continue
          }
          looks.append(look.seconds)
          break
        }
      }
    }
    guard !looks.isEmpty else { return [] }
    return [
      Result(name: "daemon's look, \(changes) changes", size: queue.size, ours: looks.median)
    ]
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
    try withDaemon(on: queue, policy: "") { daemon, _ in
      sleep(3)
      let statm = try String(contentsOfFile: "/proc/\(daemon)/statm", encoding: .utf8)
      return (statm.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0)
        * Int(getpagesize())
    }
  }

  /// What is read of `status.json`.
  private struct Status: Decodable {
    struct Queue: Decodable {
      var messages: Int
      var unread: Int
    }
    struct Look: Decodable {
      var new: Int
      /// Since its start.
      var seen: Int
      var seconds: Double
    }
    var queue: Queue
    var lastLook: Look
  }

  /// Runs `body` beside a daemon that has taken the queue in; it has ended when this returns.
  private func withDaemon<T>(
    on queue: TestQueue, policy: String, _ body: (pid_t, _ status: () -> Status?) throws -> T
  ) throws -> T {
    let state = "\(queue.qmail)/daemon"
    let path = "\(queue.qmail)/daemon.yaml"
    try "log:\n  source: none\n\(policy)".write(toFile: path, atomically: false, encoding: .utf8)
    _ = try Command("/bin/rm", "-rf", state).time()
    let daemon = try Command(
      bench.qwarden, "run", "--qmail", queue.qmail, "--state", state, "--policy", path
    ).start()
    defer {
      kill(daemon.processIdentifier, SIGCONT)
      daemon.terminate()
      daemon.waitUntilExit()
    }
    func status() -> Status? {
      FileManager.default.contents(atPath: "\(state)/status.json")
        .flatMap { try? JSONDecoder().decode(Status.self, from: $0) }
    }
    let end = now() + 600
    while now() < end {
      usleep(200_000)
      // The benchmarks before have taken some from the queue and added about as many.
      if let found = status()?.queue, found.unread == 0, found.messages >= queue.size * 9 / 10 {
        return try body(daemon.processIdentifier, status)
      }
    }
    throw Failure("the daemon did not take in \(queue.size) messages within ten minutes")
  }
}

/// Changes a queue as qmail does: a third of the changes each are arrivals, departures and recipients done.
struct Churn {
  let queue: String

  init(_ queue: String) { self.queue = queue }

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
