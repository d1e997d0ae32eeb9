import Mail

/// Reads a recorded trace (JSON Lines, already decompressed) as observations.
public struct TraceReader: Sendable {
  /// Host and local domains of the first line.
  public struct Header: Sendable, Hashable {
    public var version = 1
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
  }

  public let header: Header
  private let bytes: [UInt8]
  private var position: Int
  /// Number of the line read last.
  public private(set) var line = 1

  /// A whole trace.
  /// - Throws: when the first line is no trace header of a known version.
  public init(_ bytes: [UInt8]) throws(Failure) {
    let end = bytes.firstIndex(of: UInt8(ascii: "\n")) ?? bytes.endIndex
    header = try Self.header(bytes[..<end])
    self.bytes = bytes
    position = min(end + 1, bytes.endIndex)
  }

  /// A trace that is handed over line by line, by ``observation(in:)``.
  /// - Throws: when the first line is no trace header of a known version.
  public init(firstLine: [UInt8]) throws(Failure) {
    header = try Self.header(firstLine[...])
    bytes = []
    position = 0
  }

  private static func header(_ line: ArraySlice<UInt8>) throws(Failure) -> Header {
    let first = try Self.parse(line, 1)
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
    return header
  }

  /// The next observation, nil at the end. Events of unknown name and empty lines are passed over.
  public mutating func next() throws(Failure) -> Observation? {
    while position < bytes.endIndex {
      let end = bytes[position...].firstIndex(of: UInt8(ascii: "\n")) ?? bytes.endIndex
      let text = bytes[position..<end]
      position = min(end + 1, bytes.endIndex)
      if let observation = try observation(in: text) { return observation }
    }
    return nil
  }

  /// The observation of the trace's next line; nil where there is none in it.
  public mutating func observation(in text: ArraySlice<UInt8>) throws(Failure) -> Observation? {
    line += 1
    return text.isEmpty ? nil : try observation(Self.parse(text, line))
  }

  private static func parse(_ text: ArraySlice<UInt8>, _ line: Int) throws(Failure) -> JSONValue {
    let value: JSONValue
    do throws(JSONValue.Malformed) {
      value = try JSONValue(text)
    } catch {
      throw Failure(
        line: line, reason: "bad JSON at byte \(error.offset + 1): expected \(error.expected)")
    }
    guard case .object = value else { throw Failure(line: line, reason: "no JSON object") }
    return value
  }

  private func observation(_ value: JSONValue) throws(Failure) -> Observation? {
    guard let name = value["event"]?.string else { throw missing("event") }
    switch name {
    case "arrival", "processed", "progress", "departure", "counts", "health", "log": break
    default: return nil
    }
    guard let seconds = value["t"]?.number else { throw missing("t") }
    let time = Self.time(seconds)
    func count(_ key: String) -> Int { Int(clamping: value[key]?.integer ?? 0) }
    switch name {
    case "arrival":
      return Observation(time: time, event: .arrival(try entry(value)))
    case "processed":
      guard let birth = value["birth"]?.number else { throw missing("birth") }
      return Observation(
        time: time,
        event: .processed(EntryIdentity(id: try id(value), birth: Self.time(birth))))
    case "health":
      return Observation(
        time: time,
        event: .health(
          QueueHealth(
            senderIsRunning: value["running"]?.bool, freeSpace: value["free_space"]?.number ?? 1,
            freeInodes: value["free_inodes"]?.number ?? 1)))
    case "progress":
      let done = value["done"]
      return Observation(
        time: time,
        event: .progress(
          .init(
            id: try id(value), doneLocal: Int(clamping: done?["local"]?.integer ?? 0),
            doneRemote: Int(clamping: done?["remote"]?.integer ?? 0),
            isBouncing: value["bouncing"]?.bool ?? false,
            failed: value["failed"]?.integer.map { Int(clamping: $0) })))
    case "departure":
      return Observation(time: time, event: .departure(id: try id(value)))
    case "counts":
      return Observation(
        time: time,
        event: .counts(
          QueueCounts(messages: count("messages"), unprocessed: count("unprocessed"))))
    default:
      guard let text = value["line"]?.string else { throw missing("line") }
      return Observation(time: time, event: .log(SendLogLine(text)))
    }
  }

  private func entry(_ value: JSONValue) throws(Failure) -> Entry {
    guard let birth = value["birth"]?.number else { throw missing("birth") }
    guard let sender = value["sender"]?.string else { throw missing("sender") }
    func recipients(_ key: String) -> [Recipient] {
      (value[key]?.array ?? []).compactMap { $0.string.map { Recipient(address: Address($0)) } }
    }
    var entry = Entry(
      identity: EntryIdentity(id: try id(value), birth: Self.time(birth)),
      size: value["size"]?.integer ?? 0, sender: Address(sender),
      source: Self.source(value["source"]), isList: value["list"]?.bool ?? false,
      subject: Array((value["subject"]?.string ?? "").utf8), local: recipients("local"),
      remote: recipients("remote"), isUnprocessed: value["unprocessed"]?.bool ?? false)
    if entry.isUnprocessed {
      entry.unrouted = entry.recipients
      entry.local = []
      entry.remote = []
    }
    return entry
  }

  private static func source(_ value: JSONValue?) -> Source {
    switch value?["via"]?.string {
    case "network":
      return .network(
        client: value?["client"]?.string ?? "", helo: value?["helo"]?.string,
        user: value?["user"]?.string)
    case "uid": return .uid(UInt32(clamping: value?["uid"]?.integer ?? 0))
    case "alias": return .alias
    case "bounce":
      guard let original = value?["original"], case .object = original else {
        return .bounce(original: nil)
      }
      // The innermost message is never itself a bounce.
      let inner = source(original)
      return .bounce(
        original: .init(
          sender: Address(original["sender"]?.string ?? ""),
          source: inner.isBounce ? .unknown : inner,
          failedRecipients: Int(clamping: original["failed"]?.integer ?? 1)))
    default: return .unknown
    }
  }

  /// Traces give milliseconds; a double holds microseconds exactly, nanoseconds not.
  private static func time(_ seconds: Double) -> Timestamp {
    guard abs(seconds) < 9e9 else { return Timestamp(seconds: seconds) }
    return Timestamp(nanoseconds: Int64((seconds * 1e6).rounded()) * 1000)
  }

  private func id(_ value: JSONValue) throws(Failure) -> UInt64 {
    guard let id = value["id"]?.integer, id >= 0 else { throw missing("id") }
    return UInt64(clamping: id)
  }

  private func missing(_ key: String) -> Failure {
    Failure(line: line, reason: "\"\(key)\" is missing or of the wrong type")
  }
}
