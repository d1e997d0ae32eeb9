import Mail

/// Writes observations in the trace format, one line each (JSON Lines).
///
/// Beyond the format's first version it adds keys and events that readers of that version pass over: `"unprocessed":true` on the
/// arrival of an entry still in todo (its recipients are sorted into local and remote by the header's domains) and `"qp"`, the events
/// `processed`, `health` and `taken-out` (by qwarden itself), `failed` in `progress` and in an `original`.
public struct TraceWriter: Sendable {
  private let header: TraceReader.Header

  public init(header: TraceReader.Header) { self.header = header }

  /// The first line of the trace, with its newline.
  public var firstLine: [UInt8] {
    var line = JSONLine()
    line.add("event", "trace")
    line.add("version", 1)
    line.add("host", header.host)
    line.add("local_domains", header.localDomains.sorted().map(\.text))
    line.add("started", header.started)
    return line.closed + [UInt8(ascii: "\n")]
  }

  /// The line for this observation with its newline.
  public func line(for observation: Observation) -> [UInt8] {
    var line = JSONLine()
    func open(_ event: String) {
      line.add("event", event)
      line.add("t", observation.time.seconds)
    }
    switch observation.event {
    case .arrival(let entry):
      open("arrival")
      add(entry, to: &line)
    case .processed(let identity):
      open("processed")
      line.add("id", identity.id)
      line.add("birth", identity.birth.seconds)
    case .progress(let progress):
      open("progress")
      line.add("id", progress.id)
      var done = JSONLine()
      done.add("local", progress.doneLocal)
      done.add("remote", progress.doneRemote)
      line.add("done", done)
      line.add("bouncing", progress.isBouncing)
      if let failed = progress.failed { line.add("failed", failed) }
    case .departure(let id):
      open("departure")
      line.add("id", id)
    case .counts(let counts):
      open("counts")
      line.add("messages", counts.messages)
      line.add("unprocessed", counts.unprocessed)
    case .health(let health):
      open("health")
      if let running = health.senderIsRunning { line.add("running", running) }
      line.add("free_space", health.freeSpace)
      line.add("free_inodes", health.freeInodes)
    case .takenOut(let identity):
      open("taken-out")
      line.add("id", identity.id)
      line.add("birth", identity.birth.seconds)
    case .log(let logged):
      open("log")
      line.add("line", Self.text(logged))
    }
    return line.closed + [UInt8(ascii: "\n")]
  }

  private func add(_ entry: Entry, to line: inout JSONLine) {
    line.add("id", entry.identity.id)
    line.add("birth", entry.identity.birth.seconds)
    line.add("size", Int(entry.size))
    line.add("sender", bytes: entry.sender.bytes)
    line.add("source", Self.source(entry.source))
    line.add("list", entry.isList)
    line.add("subject", bytes: entry.subject)
    var local = entry.local.map(\.address)
    var remote = entry.remote.map(\.address)
    for address in entry.unrouted {
      let domain = address.domain
      if domain.isEmpty || header.localDomains.contains(domain) {
        local.append(address)
      } else {
        remote.append(address)
      }
    }
    line.add("local", bytes: local.map(\.bytes))
    line.add("remote", bytes: remote.map(\.bytes))
    if entry.isUnprocessed { line.add("unprocessed", true) }
    if let pid = entry.queuedBy { line.add("qp", pid) }
  }

  private static func source(_ source: Source) -> JSONLine {
    var line = JSONLine()
    describe(source, in: &line)
    return line
  }

  private static func describe(_ source: Source, in line: inout JSONLine) {
    line.add("via", source.via)
    switch source {
    case .network(let client, let helo, let user):
      line.add("client", client)
      if let helo { line.add("helo", helo) }
      if let user { line.add("user", user) }
    case .uid(let uid): line.add("uid", Int(uid))
    case .bounce(let origin?):
      var original = JSONLine()
      original.add("sender", bytes: origin.sender.bytes)
      describe(origin.source, in: &original)
      original.add("failed", origin.failedRecipients)
      line.add("original", original)
    case .bounce(nil), .alias, .unknown: break
    }
  }

  /// The line as qmail-send wrote it (qmail-log(5)).
  private static func text(_ line: SendLogLine) -> String {
    switch line {
    case .new(let id): "new msg \(id)"
    case .info(let id, let bytes, let sender, let pid, let uid):
      "info msg \(id): bytes \(bytes) from <\(Text.decode(sender.bytes))> qp \(pid) uid \(uid)"
    case .starting(let delivery, let id, let channel, let recipient):
      "starting delivery \(delivery): msg \(id) to \(channel.rawValue) "
        + Text.decode(recipient.bytes)
    case .outcome(let delivery, let outcome, let text):
      "delivery \(delivery): \(outcome.rawValue): \(text)"
    case .bounce(let id, let pid): "bounce msg \(id) qp \(pid)"
    case .end(let id): "end msg \(id)"
    case .status(let text): "status: \(text)"
    case .other(let text): text
    }
  }
}
