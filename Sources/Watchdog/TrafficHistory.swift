import Files
import Glibc
import Mail
import Policy
import Replay
import Storms

/// Keeps what the detector was told, so that `qwarden replay --history` can ask what another policy would have done: a gzipped trace an
/// hour, the oldest removed first when there is too much.
///
/// Never throws into the loop: on a disk that is full or cannot be written nothing is kept, and it is tried again every ten seconds. A kill loses what was not yet flushed: ``flushPause`` at most.
struct TrafficHistory {
  static let flushPause = 2.0
  private static let retryPause = 10.0
  /// A segment this small a part of the whole is ended early, so that the bound holds well.
  private static let parts: Int64 = 16

  /// May be replaced on reload.
  var policy: Policy.History
  private let folder: HistoryFolder
  private var header: TraceReader.Header
  private var writer: TraceWriter
  private var sink: LineSink?
  private var hour: Int64 = 0
  /// Bytes of the segments that are closed.
  private var kept: Int64?
  private var now: Timestamp
  private var flushed: Timestamp
  private var retry: Timestamp?
  /// Why nothing is kept at the moment.
  private(set) var trouble: String?
  /// How far the clock was set forward: what is old by it alone is not removed.
  private var lead = Duration.zero

  init(_ policy: Policy.History, state: String, header: TraceReader.Header, at now: Timestamp) {
    self.policy = policy
    self.header = header
    self.now = now
    flushed = now
    folder = HistoryFolder(state: state)
    writer = TraceWriter(header: header)
  }

  /// The local domains changed: a new segment says so.
  mutating func rename(_ header: TraceReader.Header) {
    guard header.host != self.header.host || header.localDomains != self.header.localDomains else {
      return
    }
    self.header = header
    end()
  }

  mutating func add(_ observation: Observation) {
    guard policy.size > 0 else { return }
    // How many deliveries run is no news of any message, and half of the log.
    if case .log(.status) = observation.event { return }
    if let retry, now < retry { return }
    attempt { history throws(FileError) in
      try history.open().write(history.writer.line(for: observation))
    }
  }

  /// The clock was set: a new segment bears the new time.
  mutating func clockWasSet(by shift: Duration, at now: Timestamp) {
    lead = max(.zero, lead + shift)
    self.now = now
    flushed = now
    retry = nil
    end()
  }

  /// Flushes, begins a new hour, removes what is too old or too much. To be called at every look.
  mutating func tend(at now: Timestamp) {
    self.now = now
    if policy.size == 0 { end() }
    if let sink, abs(now.seconds(since: flushed)) >= Self.flushPause {
      flushed = now
      attempt { history throws(FileError) in
        try sink.flush()
        let size = sink.size
        if now.hour != history.hour || size > history.policy.size / Self.parts { history.end() }
        try history.prune(beside: size)
        history.retry = nil
        history.trouble = nil
      }
    }
  }

  /// Ends the segment in good order.
  mutating func end() {
    guard let sink else { return }
    self.sink = nil
    kept = nil
    attempt { _ throws(FileError) in try sink.close() }
  }

  private mutating func open() throws(FileError) -> LineSink {
    if let sink { return sink }
    header.started = now.iso8601
    writer = TraceWriter(header: header)
    let fresh = try folder.create(at: now)
    sink = fresh
    try fresh.write(writer.firstLine)
    hour = now.hour
    kept = nil
    return fresh
  }

  /// - Parameter size: of the segment that is being written.
  private mutating func prune(beside size: Int64) throws(FileError) {
    if let kept, kept + size <= policy.size { return }
    var segments = try folder.segments()
    if sink != nil, !segments.isEmpty { segments.removeLast() }
    var total = segments.reduce(0) { $0 + $1.size }
    let oldest = now - policy.keep - lead
    for segment in segments where segment.written < oldest || total + size > policy.size {
      try folder.remove(segment)
      total -= segment.size
    }
    kept = total
  }

  private mutating func attempt(_ work: (inout TrafficHistory) throws(FileError) -> Void) {
    do throws(FileError) {
      try work(&self)
    } catch {
      // On a full disk each attempt would leave an empty one.
      if let sink, sink.size == 0 { unlink(sink.path) }
      sink = nil
      kept = nil
      retry = now + .seconds(Self.retryPause)
      trouble = "\(folder.path): \(error.reason)"
    }
  }
}

extension Timestamp {
  fileprivate var hour: Int64 { nanoseconds / 3_600_000_000_000 }
}
