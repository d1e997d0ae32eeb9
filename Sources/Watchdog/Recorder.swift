import Files
import Glibc
import Mail
import Policy
import QmailControl
import QmailQueue
import Storms

/// Follows a live queue and qmail-send's log as the daemon does, and writes what it sees as a trace. Changes nothing.
public final class Recorder {
  /// What was written so far.
  public private(set) var arrivals = 0
  public private(set) var lines = 0
  /// What an administrator should know: the log that is not there, lost events.
  public var onNote: (String) -> Void = { _ in }

  private let watcher: QueueWatcher
  private let log: LogSource
  private let sink: LineSink
  private let writer: TraceWriter
  private let fullPass: Duration
  private var nextPass: Timestamp
  private var nextCounts: Timestamp
  private var blindSpot: String?
  /// The last look stopped at its bound: the next follows at once.
  private var hasMore = false

  /// - Parameter output: a path that does not exist yet, gzipped when it ends in `.gz`; `-` for standard output.
  /// - Throws: `QueueError`, `ControlError` or `FileError`.
  public init(qmail: String, policy: Policy, output: String) throws {
    let now = WallClock.now()
    let control = try ControlDirectory(qmail: qmail).read()
    watcher = try QueueWatcher(layout: try QueueLayout.read(qmail: qmail))
    log = LogSource(policy.log, state: nil, at: now)
    writer = TraceWriter(header: TraceReader.Header(control, started: now))
    fullPass = policy.polling.fullPass
    nextPass = now
    nextCounts = now
    sink = try LineSink(creating: output, compressed: output.hasSuffix(".gz"), mode: 0o640)
    try sink.write(writer.firstLine)
  }

  /// Records until `isEnough` says so: it is asked after every look, at least once a second.
  /// - Throws: `QueueError` or `FileError`; what was recorded until then stays.
  public func run(until isEnough: () -> Bool) throws {
    repeat {
      try look()
      if !hasMore { rest() }
    } while !isEnough()
    try look()
    try sink.close()
  }

  private func look() throws {
    let now = WallClock.now()
    let isPass = now >= nextPass
    if isPass {
      nextPass = now + fullPass
      _ = log.retry(at: now)
    }
    var found = try watcher.poll(at: now, fullPass: isPass, atMost: Watchdog.atOnce)
    let written = log.read(at: WallClock.now())
    // As the daemon: the queue's part of the story is there before the log's line is told.
    if !written.observations.isEmpty {
      found.append(try watcher.poll(at: WallClock.now(), fullPass: false, atMost: 0))
    }
    hasMore = found.hasMore || written.hasMore
    for note in written.notes { onNote(note) }
    if watcher.blindSpot != blindSpot {
      blindSpot = watcher.blindSpot
      if let blindSpot { onNote(blindSpot) }
    }
    try write(Chronicle.merge(queue: found.observations, log: written.observations))
    guard now >= nextCounts else { return }
    nextCounts = now + .seconds(1)
    try write([
      watcher.health(at: now), Observation(time: now, event: .counts(watcher.counts)),
    ])
    try sink.flush()
  }

  private func write(_ observations: [Observation]) throws(FileError) {
    for observation in observations {
      if case .arrival = observation.event { arrivals += 1 }
      lines += 1
      try sink.write(writer.line(for: observation))
    }
  }

  /// Sleeps until the queue or the log changes, or the counts are due.
  private func rest() {
    var places = [watcher.eventDescriptor, log.descriptor].compactMap { number in
      number.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
    }
    let rest = nextCounts.seconds(since: WallClock.now())
    _ = poll(&places, nfds_t(places.count), Int32(min(max(rest * 1000, 0), 1000)))
  }
}

extension TraceReader.Header {
  /// Of this server, as its control files name it.
  init(_ control: ControlSnapshot, started: Timestamp) {
    self.init()
    host = control.me.text
    localDomains = control.localDomains
    self.started = started.iso8601
  }
}
