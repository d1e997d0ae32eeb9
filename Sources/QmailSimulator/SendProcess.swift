import Files
import Glibc
import Mail
import QmailQueue

/// The simulated qmail-send, from start to exit: the loop of qmail-send.c with the same order of file operations and log lines.
final class SendProcess {
  /// Seconds until a message with a failed file operation is looked at again (SLEEP_SYSFAIL).
  private static let pause = 123

  private let lock: FileLock
  private let tree: QueueTree
  private let controls: SimulatedControls
  private var waiting: [Channel: DueQueue] = [.local: DueQueue(), .remote: DueQueue()]
  private var finished = DueQueue()
  private var passes: [Channel: Pass] = [:]
  private var inFlight: [Delivery] = []
  private var used: [Channel: Int] = [.local: 0, .remote: 0]
  private var jobs = 0
  private var lastDelivery: UInt64 = 0
  private var todo: [UInt64] = []
  private var todoIsNew = true
  private var isExiting = false

  /// One message on one channel, while a pass over it or a delivery of it is open.
  private final class Job {
    let identity: EntryIdentity
    let channel: Channel
    let sender: Address
    let retry: Int
    let isDying: Bool
    var references = 1
    var pending = 0
    var hasReachedEnd = false

    init(
      _ identity: EntryIdentity, _ channel: Channel, sender: Address, retry: Int, isDying: Bool
    ) {
      self.identity = identity
      self.channel = channel
      self.sender = sender
      self.retry = retry
      self.isDying = isDying
    }
  }

  /// A reading of one recipient file, by 128 bytes as qmail-send does: marks made in a part already read are not seen.
  private final class Pass {
    let job: Job
    private let file: Descriptor
    private var buffer: ArraySlice<UInt8> = []
    private var offset: Int64 = 0
    private(set) var position: Int64 = 0

    init(_ job: Job, _ file: consuming Descriptor) {
      self.job = job
      self.file = file
    }

    /// The next record and its place in the file; nil at the end or at a record without its NUL.
    func next() throws(FileError) -> (position: Int64, record: [UInt8])? {
      var record: [UInt8] = []
      while true {
        if buffer.isEmpty {
          buffer = try file.read(limit: 128, from: offset)[...]
          offset += Int64(buffer.count)
          if buffer.isEmpty { return nil }
        }
        guard let end = buffer.firstIndex(of: 0) else {
          record += buffer
          buffer = []
          continue
        }
        record += buffer[..<end]
        buffer = buffer[(end + 1)...]
        defer { position += Int64(record.count) + 1 }
        return (position, record)
      }
    }
  }

  private struct Delivery {
    var number: UInt64
    var job: Job
    var position: Int64
    var attempt: DeliveryAttempt
    var answer: DeliveryAnswer
    var end: Timestamp
  }

  // MARK: Start and end

  init(_ qmail: SimulatedQmail, at now: Timestamp) throws(FileError) {
    tree = qmail.tree
    controls = try SimulatedControls(reading: qmail.qmail)
    let mutex = "\(tree.queue)/lock/sendmutex"
    guard let lock = try FileLock.take(mutex) else {
      qmail.onLog?(now, "alert: cannot start: qmail-send is already running")
      throw FileError("lock", mutex, code: EWOULDBLOCK, remedy: "qmail-send is already running")
    }
    self.lock = lock
    for id in try tree.numbers(.info) { enqueueFromDisk(id, now.wholeSeconds) }
    status(qmail, now)
  }

  /// pqadd: what the files of a message say when qmail-send starts.
  private func enqueueFromDisk(_ id: UInt64, _ now: Int) {
    guard tree.exists(.todo, id) == false else { return }
    var isWaiting = false
    for channel in Channel.allCases {
      guard let file = try? FileStatus.of(tree.path(channel.kind, id)) else { continue }
      waiting[channel]?.insert(id, due: file.modified.wholeSeconds)
      isWaiting = true
    }
    if !isWaiting { finished.insert(id, due: now) }
  }

  func retryEverything(at now: Timestamp) {
    for channel in Channel.allCases { waiting[channel]?.makeAllDue(at: now.wholeSeconds) }
  }

  func stop(_ qmail: SimulatedQmail, _ now: Timestamp) {
    isExiting = true
    for index in inFlight.indices { inFlight[index].end = min(inFlight[index].end, now) }
    _ = endDeliveries(qmail, now)
    for channel in Channel.allCases {
      for item in waiting[channel]?.items ?? [] {
        // pqfinish: the retry time survives as the file's mtime.
        let path = tree.path(channel.kind, item.id)
        if let file = try? Descriptor.open(path, .write) {
          QueueTree.stamp(file, Timestamp(wholeSeconds: item.due))
        } else {
          warn(
            qmail, now, "unable to utime", channel.kind, item.id, "message will be retried too soon"
          )
        }
      }
    }
    qmail.onLog?(now, "status: exiting")
  }

  // MARK: The loop

  var nextDue: Timestamp? {
    var next = inFlight.map(\.end).min()
    func consider(_ due: Int?) {
      guard let due else { return }
      let time = Timestamp(wholeSeconds: due)
      next = next.map { min($0, time) } ?? time
    }
    consider(finished.first?.due)
    if jobs < limit(.local) + limit(.remote) {
      for channel in Channel.allCases where passes[channel] == nil {
        consider(waiting[channel]?.first?.due)
      }
    }
    return next
  }

  func step(_ qmail: SimulatedQmail, _ now: Timestamp) {
    todoIsNew = true
    var isBusy = true
    while isBusy {
      isBusy = endDeliveries(qmail, now)
      isBusy = preprocessOne(qmail, now) || isBusy
      for channel in Channel.allCases { isBusy = advancePass(channel, qmail, now) || isBusy }
      if let id = finished.pop(dueAt: now.wholeSeconds) {
        endMessage(id, qmail, now)
        isBusy = true
      }
    }
  }

  private func limit(_ channel: Channel) -> Int { controls.concurrency[channel] ?? 0 }

  private func status(_ qmail: SimulatedQmail, _ now: Timestamp) {
    let parts = Channel.allCases.map { " \($0.rawValue) \(used[$0] ?? 0)/\(limit($0))" }
    qmail.onLog?(now, "status:\(parts.joined())\(isExiting ? " exitasap" : "")")
  }

  private func warn(
    _ qmail: SimulatedQmail, _ now: Timestamp, _ trouble: String, _ kind: QueueFile,
    _ id: UInt64, _ remark: String? = nil
  ) {
    qmail.onLog?(
      now, "warning: \(trouble) \(tree.name(kind, id))\(remark.map { "; \($0)" } ?? "")")
  }

  // MARK: Preprocessing (todo_do)

  private func preprocessOne(_ qmail: SimulatedQmail, _ now: Timestamp) -> Bool {
    if todo.isEmpty {
      guard todoIsNew else { return false }
      todoIsNew = false
      do { todo = try tree.numbers(.todo).reversed() } catch {
        qmail.onLog?(now, "alert: unable to opendir todo, sleeping...")
      }
    }
    guard let id = todo.popLast() else { return false }
    preprocess(id, qmail, now)
    return true
  }

  private func preprocess(_ id: UInt64, _ qmail: SimulatedQmail, _ now: Timestamp) {
    guard let records = try? Descriptor.open(tree.path(.todo, id)).readAll(limit: 1 << 30) else {
      return warn(qmail, now, "unable to open", .todo, id)
    }
    guard let size = try? FileStatus.of(tree.path(.mess, id)).size else {
      return warn(qmail, now, "unable to stat", .mess, id)
    }
    for kind in [QueueFile.local, .remote, .info] where !tree.remove(kind, id) {
      return warn(qmail, now, "unable to unlink", kind, id)
    }
    let stamp = qmail.time == .virtual ? now : nil
    do throws(FileError) {
      let info = try create(.info, id)
      qmail.onLog?(now, "new msg \(id)")
      var (uid, pid) = ("0", "0")
      var routed: [Channel: [UInt8]] = [:]
      var files: [Channel] = []
      for record in records.split(separator: 0, omittingEmptySubsequences: false).dropLast() {
        switch record.first {
        case UInt8(ascii: "u"): uid = Text.decode(record.dropFirst())
        case UInt8(ascii: "p"): pid = Text.decode(record.dropFirst())
        case UInt8(ascii: "F"):
          try info.write(Array(record) + [0], at: 0)
          let sender = logSafe(record.dropFirst())
          qmail.onLog?(
            now, "info msg \(id): bytes \(size) from <\(sender)> qp \(pid) uid \(uid)")
        case UInt8(ascii: "T"):
          let (channel, address) = controls.route(Address(record.dropFirst()))
          if routed[channel] == nil { files.append(channel) }
          routed[channel, default: []] += [UInt8(ascii: "T")] + address.bytes + [0]
        default: return warn(qmail, now, "unknown record type in", .todo, id)
        }
      }
      for channel in files {
        let file = try create(channel.kind, id)
        try file.write(routed[channel] ?? [], at: 0)
        if let stamp { QueueTree.stamp(file, stamp) }
      }
      if let stamp { QueueTree.stamp(info, stamp) }
      guard tree.remove(.intd, id), tree.remove(.todo, id) else {
        return warn(qmail, now, "qmail-clean unable to clean up", .todo, id)
      }
      for channel in files { waiting[channel]?.insert(id, due: now.wholeSeconds) }
      if files.isEmpty { finished.insert(id, due: now.wholeSeconds) }
    } catch {
      warn(qmail, now, "trouble writing to", .info, id)
    }
  }

  private func create(_ kind: QueueFile, _ id: UInt64) throws(FileError) -> Descriptor {
    try tree.create(tree.path(kind, id))
  }

  // MARK: Passes (pass_dochan)

  private func advancePass(_ channel: Channel, _ qmail: SimulatedQmail, _ now: Timestamp) -> Bool {
    if isExiting { return false }
    guard let pass = passes[channel] else {
      guard jobs < limit(.local) + limit(.remote),
        let id = waiting[channel]?.pop(dueAt: now.wholeSeconds)
      else { return false }
      openPass(id, channel, qmail, now)
      return true
    }
    guard used[channel, default: 0] < limit(channel) else { return false }
    let job = pass.job
    func closePass() {
      passes[channel] = nil
      release(job, qmail, now)
    }
    do {
      guard let (position, record) = try pass.next() else {
        job.hasReachedEnd = true
        closePass()
        return true
      }
      switch record.first {
      case UInt8(ascii: "D"): break
      case UInt8(ascii: "T"):
        job.pending += 1
        begin(job, position, Address(record.dropFirst()), qmail, now)
      default:
        qmail.onLog?(
          now, "warning: unknown record type in \(tree.name(channel.kind, job.identity.id))!")
        closePass()
      }
    } catch {
      warn(qmail, now, "trouble reading", channel.kind, job.identity.id, "will try again later")
      closePass()
    }
    return true
  }

  private func openPass(_ id: UInt64, _ channel: Channel, _ qmail: SimulatedQmail, _ now: Timestamp)
  {
    let recent = now.wholeSeconds
    guard let file = try? Descriptor.open(tree.path(channel.kind, id)), let info = readInfo(id)
    else {
      waiting[channel]?.insert(id, due: recent + Self.pause)
      return warn(qmail, now, "trouble opening", channel.kind, id, "will try again later")
    }
    let birth = info.birth.wholeSeconds
    jobs += 1
    let job = Job(
      EntryIdentity(id: id, birth: info.birth), channel, sender: info.sender,
      retry: Self.nextRetry(birth: birth, now: recent, channel: channel),
      isDying: recent > birth + controls.lifetime)
    passes[channel] = Pass(job, file)
  }

  /// `birth + (sqrt(age) + 10 local or 20 remote)²`, in whole seconds (qmail-send.c `nextretry`).
  static func nextRetry(birth: Int, now: Int, channel: Channel) -> Int {
    let age = max(0, now - birth)
    let root = Int(Double(age).squareRoot())
    let n = root + (channel == .local ? 10 : 20)
    return birth + n * n
  }

  private func readInfo(_ id: UInt64) -> (sender: Address, birth: Timestamp)? {
    guard let file = try? Descriptor.open(tree.path(.info, id)), let status = try? file.status(),
      let bytes = try? file.readAll(limit: 1 << 20), bytes.first == UInt8(ascii: "F"),
      let end = bytes.firstIndex(of: 0)
    else { return nil }
    return (Address(bytes[1..<end]), status.modified)
  }

  /// job_close: the last one out decides whether the channel is finished or waits for its next retry.
  private func release(_ job: Job, _ qmail: SimulatedQmail, _ now: Timestamp) {
    job.references -= 1
    guard job.references == 0 else { return }
    jobs -= 1
    let (id, channel) = (job.identity.id, job.channel)
    var due = job.retry
    if job.hasReachedEnd && job.pending == 0 {
      if unlink(tree.path(channel.kind, id)) == 0 {
        let other = channel == .local ? QueueFile.remote : .local
        if tree.exists(other, id) == true { return }
        return finished.insert(id, due: now.wholeSeconds)
      }
      warn(qmail, now, "unable to unlink", channel.kind, id, "will try again later")
      due = now.wholeSeconds + Self.pause
    }
    waiting[channel]?.insert(id, due: due)
  }

  // MARK: Deliveries

  private func begin(
    _ job: Job, _ position: Int64, _ recipient: Address, _ qmail: SimulatedQmail, _ now: Timestamp
  ) {
    lastDelivery += 1
    job.references += 1
    used[job.channel, default: 0] += 1
    let attempt = DeliveryAttempt(
      entry: job.identity, channel: job.channel,
      sender: Self.expandVERP(job.sender, for: recipient), recipient: recipient, time: now)
    let answer = qmail.exchanger.answer(to: attempt)
    inFlight.append(
      Delivery(
        number: lastDelivery, job: job, position: position, attempt: attempt, answer: answer,
        end: now + answer.after))
    qmail.onLog?(
      now,
      "starting delivery \(lastDelivery): msg \(job.identity.id) to \(job.channel.rawValue) "
        + logSafe(recipient.bytes))
    status(qmail, now)
  }

  /// `owner-@host-@[]` becomes `owner-recipbox=reciphost@host` (senderadd).
  static func expandVERP(_ sender: Address, for recipient: Address) -> Address {
    guard sender.isQmailVERP, let at = recipient.bytes.lastIndex(of: UInt8(ascii: "@")) else {
      return sender
    }
    let stem = sender.bytes.dropLast(4)
    guard let cut = stem.lastIndex(of: UInt8(ascii: "@")) else { return sender }
    var bytes = Array(stem[..<cut])
    bytes += recipient.bytes[..<at]
    bytes.append(UInt8(ascii: "="))
    bytes += recipient.bytes[(at + 1)...]
    bytes += stem[cut...]
    return Address(bytes)
  }

  private func endDeliveries(_ qmail: SimulatedQmail, _ now: Timestamp) -> Bool {
    let due = inFlight.filter { $0.end <= now }.sorted { ($0.end, $0.number) < ($1.end, $1.number) }
    inFlight.removeAll { $0.end <= now }
    for delivery in due { end(delivery, qmail, now) }
    return !due.isEmpty
  }

  private func end(_ delivery: Delivery, _ qmail: SimulatedQmail, _ now: Timestamp) {
    let (job, recipient) = (delivery.job, delivery.attempt.recipient)
    var answer = delivery.answer
    if answer.outcome == .deferral && job.isDying {
      answer.outcome = .failure
      answer.report += Array(
        "I'm not going to try again; this message has been in the queue too long.\n".utf8)
    }
    qmail.onLog?(
      now,
      "delivery \(delivery.number): \(answer.outcome.rawValue): \(logSafe(answer.report.cString))")
    if answer.outcome == .failure {
      appendBounce(job.identity.id, recipient, answer.report.cString, qmail, now)
    }
    if answer.outcome != .deferral {
      markDone(job, delivery.position, qmail, now)
      job.pending -= 1
    }
    if answer.outcome == .success, let onDelivery = qmail.onDelivery {
      let mess = try? Descriptor.open(tree.path(.mess, job.identity.id)).readAll(limit: 1 << 30)
      onDelivery(delivery.attempt, mess ?? [])
    }
    release(job, qmail, now)
    used[job.channel, default: 1] -= 1
    status(qmail, now)
  }

  private func markDone(_ job: Job, _ position: Int64, _ qmail: SimulatedQmail, _ now: Timestamp) {
    do {
      let file = try Descriptor.open(tree.path(job.channel.kind, job.identity.id), .write)
      try file.write([UInt8(ascii: "D")], at: position)
      if qmail.time == .virtual { QueueTree.stamp(file, now) }
    } catch {
      warn(
        qmail, now, "trouble marking", job.channel.kind, job.identity.id,
        "message will be delivered twice!")
    }
  }

  // MARK: Bounces and the end

  private func appendBounce(
    _ id: UInt64, _ recipient: Address, _ report: [UInt8], _ qmail: SimulatedQmail,
    _ now: Timestamp
  ) {
    let text = BounceText.paragraph(about: controls.withoutPrepend(recipient), report)
    do {
      let file = try tree.create(tree.path(.bounce, id), [.write, .create, .append])
      try file.write(text, at: 0)
      if qmail.time == .virtual { QueueTree.stamp(file, now) }
    } catch {
      qmail.onLog?(now, "alert: unable to append to bounce message; HELP! sleeping...")
    }
  }

  /// messdone: a bounce if there is one to send, then info, intd, mess.
  private func endMessage(_ id: UInt64, _ qmail: SimulatedQmail, _ now: Timestamp) {
    for kind in [QueueFile.local, .remote, .todo] where tree.exists(kind, id) == true {
      return
    }
    if tree.exists(.info, id) == false { return }
    guard injectBounce(id, qmail, now) else {
      return finished.insert(id, due: now.wholeSeconds + Self.pause)
    }
    qmail.onLog?(now, "end msg \(id)")
    guard unlink(tree.path(.info, id)) == 0 else {
      warn(qmail, now, "unable to unlink", .info, id, "will try again later")
      return finished.insert(id, due: now.wholeSeconds + Self.pause)
    }
    if !tree.remove(.intd, id) || !tree.remove(.mess, id) {
      qmail.onLog?(now, "warning: qmail-clean unable to clean up foop/\(id)")
    }
  }

  private func injectBounce(_ id: UInt64, _ qmail: SimulatedQmail, _ now: Timestamp) -> Bool {
    guard var sender = readInfo(id)?.sender else { return false }
    if sender.isQmailVERP { sender = Address(sender.bytes.dropLast(4)) }
    guard let exists = tree.exists(.bounce, id) else {
      warn(qmail, now, "unable to stat", .bounce, id)
      return false
    }
    guard exists else { return true }
    if sender.isDoubleBounce {
      qmail.onLog?(now, "triple bounce: discarding \(tree.name(.bounce, id))")
    } else {
      let isDouble = sender.isNull
      let recipient = isDouble ? Address(controls.doubleBounceTo) : sender
      guard
        let reports = try? Descriptor.open(tree.path(.bounce, id)).readAll(limit: 1 << 30),
        let original = try? Descriptor.open(tree.path(.mess, id)).readAll(limit: 1 << 30),
        let queued = try? qmail.queue(
          BounceText.notice(
            by: controls, to: recipient, about: sender, reports, original, at: now),
          envelope: SimulatedInjection(
            sender: isDouble ? .doubleBounce : .null, recipients: [recipient],
            source: .bounce(original: nil), message: []
          ).envelope, uid: SimulatedUser.qmails, at: now)
      else {
        qmail.onLog?(now, "warning: trouble injecting bounce message, will try later")
        return false
      }
      todoIsNew = true
      qmail.onLog?(now, "bounce msg \(id) qp \(queued.pid)")
    }
    guard tree.remove(.bounce, id) else {
      warn(qmail, now, "unable to unlink", .bounce, id)
      return false
    }
    return true
  }
}

/// qsutil.c `logsafe`: newline as `/`, `%` and what is not printable ASCII as `_`.
func logSafe(_ bytes: some Collection<UInt8>) -> String {
  String(
    decoding: bytes.map { byte in
      byte == 10 ? UInt8(ascii: "/") : byte < 33 || byte > 126 || byte == 37 ? 95 : byte
    }, as: UTF8.self)
}

extension [UInt8] {
  /// What C code sees of it: the bytes before the first NUL.
  fileprivate var cString: [UInt8] { Array(prefix { $0 != 0 }) }
}

extension Channel {
  fileprivate var kind: QueueFile { self == .local ? .local : .remote }
}

extension Timestamp {
  /// Seconds as qmail counts them: rounded down.
  var wholeSeconds: Int {
    Int(nanoseconds >= 0 ? nanoseconds : nanoseconds - 999_999_999) / 1_000_000_000
  }

  init(wholeSeconds: Int) { self.init(nanoseconds: Int64(wholeSeconds) * 1_000_000_000) }
}
