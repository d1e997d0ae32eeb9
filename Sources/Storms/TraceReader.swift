import Mail

/// Reads a recorded trace (JSON Lines, already decompressed) as observations.
public struct TraceReader: Sendable {
  /// Host and local domains of the first line.
  public struct Header: Sendable, Hashable {
    public var host = ""
    public var localDomains: Set<Domain> = []
    /// ISO 8601, UTC, as the recorder wrote it.
    public var started = ""
    public init() {}
  }

  /// A line that is no JSON object or lacks what its event needs.
  public struct Failure: Error, Sendable, Hashable, CustomStringConvertible {
    public var line: Int
    public var reason: String
    public var description: String { "line \(line): \(reason)" }

    fileprivate init(line: Int, reason: String) {
      self.line = line
      self.reason = reason
    }

    fileprivate init(line: Int, _ malformed: JSONValue.Malformed) {
      self.line = line
      reason = "bad JSON at byte \(malformed.offset + 1): expected \(malformed.expected)"
    }
  }

  public let header: Header
  /// Number of the line read last.
  public private(set) var line = 1
  /// Of a trace in memory.
  private var bytes: [UInt8] = []
  private var position = 0

  /// A whole trace in memory, for ``next()``.
  public init(_ bytes: [UInt8]) throws(Failure) {
    let end = bytes.firstIndex(of: UInt8(ascii: "\n")) ?? bytes.endIndex
    try self.init(firstLine: Array(bytes[..<end]))
    self.bytes = bytes
    position = end + 1
  }

  /// The next observation of a trace in memory, nil at the end.
  public mutating func next() throws(Failure) -> Observation? {
    while position < bytes.endIndex {
      let end = bytes[position...].firstIndex(of: UInt8(ascii: "\n")) ?? bytes.endIndex
      let line = bytes[position..<end]
      position = end + 1
      if let observation = try observation(in: line.span) { return observation }
    }
    return nil
  }

  /// Takes the first line of a trace; the others are handed over one by one to ``observation(in:)``.
  /// - Throws: when it is no trace header of a known version.
  public init(firstLine text: [UInt8]) throws(Failure) {
    let first: JSONValue
    do throws(JSONValue.Malformed) { first = try JSONValue(text[...]) } catch {
      throw Failure(line: 1, error)
    }
    guard first["event"]?.string == "trace" else {
      throw Failure(line: 1, reason: "no trace: the first line must be the event \"trace\"")
    }
    let version = first["version"]?.integer ?? 0
    guard version == 1 else {
      throw Failure(line: 1, reason: "trace version \(version) is not known; this reads version 1")
    }
    var header = Header()
    header.host = first["host"]?.string ?? ""
    header.started = first["started"]?.string ?? ""
    header.localDomains = Set(
      (first["local_domains"]?.array ?? []).compactMap { $0.string.map { Domain($0) } })
    self.header = header
  }

  /// The observation of the trace's next line; nil where there is none in it: an empty line, or an event of unknown name.
  public mutating func observation(in text: Span<UInt8>) throws(Failure) -> Observation? {
    line += 1
    guard !text.isEmpty else { return nil }
    let fields: TraceLine
    do throws(JSONValue.Malformed) { fields = try TraceLine(text) } catch {
      throw Failure(line: line, error)
    }
    guard fields.isObject else { throw Failure(line: line, reason: "no JSON object") }
    guard let name = fields.event else { throw missing("event") }
    func isEvent(_ event: StaticString) -> Bool { text.isWord(event, at: name.range) }
    // The log's lines are most of a trace.
    if isEvent("log") {
      guard let line = fields.bytes(fields.line, text) else { throw missing("line") }
      return try Observation(time: time(fields), event: .log(SendLogLine(bytes: line)))
    }
    if isEvent("arrival") {
      return try Observation(time: time(fields), event: .arrival(entry(fields, text)))
    }
    if isEvent("progress") {
      return try Observation(
        time: time(fields),
        event: .progress(
          .init(
            id: id(fields), doneLocal: Int(clamping: fields.doneLocal),
            doneRemote: Int(clamping: fields.doneRemote), isBouncing: fields.isBouncing,
            failed: fields.failed.map { Int(clamping: $0) })))
    }
    if isEvent("departure") {
      return try Observation(time: time(fields), event: .departure(id: id(fields)))
    }
    if isEvent("counts") {
      return try Observation(
        time: time(fields),
        event: .counts(
          QueueCounts(
            messages: Int(clamping: fields.messages),
            unprocessed: Int(clamping: fields.unprocessed))))
    }
    if isEvent("processed") {
      return try Observation(time: time(fields), event: .processed(identity(fields)))
    }
    if isEvent("taken-out") {
      return try Observation(time: time(fields), event: .takenOut(identity(fields)))
    }
    if isEvent("health") {
      return try Observation(
        time: time(fields),
        event: .health(
          QueueHealth(
            senderIsRunning: fields.isRunning, freeSpace: fields.freeSpace ?? 1,
            freeInodes: fields.freeInodes ?? 1)))
    }
    return nil
  }

  private func entry(_ fields: TraceLine, _ text: Span<UInt8>) throws(Failure) -> Entry {
    let identity = try identity(fields)
    guard let sender = fields.bytes(fields.sender, text) else { throw missing("sender") }
    var entry = Entry(
      identity: identity, size: fields.size ?? 0, sender: Address(sender), source: fields.source,
      queuedBy: fields.queuedBy.map { Int(clamping: $0) }, isList: fields.isList,
      subject: fields.bytes(fields.subject, text) ?? [], local: fields.local,
      remote: fields.remote, isUnprocessed: fields.isUnprocessed)
    if entry.isUnprocessed {
      entry.unrouted = entry.recipients
      entry.local = []
      entry.remote = []
    }
    return entry
  }

  private func identity(_ fields: TraceLine) throws(Failure) -> EntryIdentity {
    guard let birth = fields.birth else { throw missing("birth") }
    return EntryIdentity(id: try id(fields), birth: Self.time(birth))
  }

  private func time(_ fields: TraceLine) throws(Failure) -> Timestamp {
    guard let seconds = fields.t else { throw missing("t") }
    return Self.time(seconds)
  }

  /// Traces give milliseconds; a double holds microseconds exactly, nanoseconds not.
  private static func time(_ seconds: Double) -> Timestamp {
    guard abs(seconds) < 9e9 else { return Timestamp(seconds: seconds) }
    return Timestamp(nanoseconds: Int64((seconds * 1e6).rounded()) * 1000)
  }

  private func id(_ fields: TraceLine) throws(Failure) -> UInt64 {
    guard let id = fields.id, id >= 0 else { throw missing("id") }
    return UInt64(clamping: id)
  }

  private func missing(_ key: String) -> Failure {
    Failure(line: line, reason: "\"\(key)\" is missing or of the wrong type")
  }
}
