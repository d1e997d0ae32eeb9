import Files
import Glibc
import Mail

/// One message being taken out of a live queue: copied, then marked `T` → `D` recipient by recipient, so that qmail-send removes it by
/// itself, silently, at its next pass.
///
/// The order, which callers must keep: intent recorded → ``open(_:sender:in:)`` → ``copy(into:at:boot:)`` → `store.syncBatch()` →
/// ``moveBounceAside(into:)`` → `store.syncBatch()` → a look; those ``isBusy(_:)`` are cancelled or postponed → ``mark()`` → a look, given to
/// ``noteDeliveries(_:)`` → later ``DepartingEntry`` until it is gone. Each step may be made for a batch of messages before the next;
/// an open Retirement holds up to four descriptors. Killed anywhere, ``Recovery`` finishes.
///
/// Facts this stands on: qmail's INTERNALS section 5; `markdone` in qmail-send.c makes the same one-byte write and does not flush it
/// either; records do not move once `todo/ID` is gone; a write into a file that was unlinked meanwhile harms nobody.
public struct Retirement: ~Copyable, Sendable {
  private let files: EntryFiles
  /// The message's beginning, until it is copied.
  private var beginning: [UInt8] = []
  /// nil: not asked yet.
  private var bounceIsAside: Bool?
  /// Where the copy is, once there is one.
  private var store: QuarantineStore?
  private var envelope: QuarantineEnvelope?
  /// Recipients pending when the entry was opened, with the states that the envelope has on disk.
  public private(set) var recipients: [QuarantinedRecipient]
  /// mtime of each recipient file after our last mark: a later one is a mark of qmail's own.
  private var lastMark: [Channel: Timestamp] = [:]

  public var identity: EntryIdentity { files.identity }
  public var sender: Address { files.sender }

  private init(
    files: consuming EntryFiles, envelope: consuming QuarantineEnvelope?,
    recipients: [QuarantinedRecipient]
  ) {
    self.files = files
    self.envelope = envelope
    self.recipients = recipients
  }

  /// Opens the entry's files and makes sure that they are this message's.
  /// - Parameters:
  ///   - identity: with the exact mtime of `info`, never that of `todo`.
  ///   - sender: nil: whoever `info` names.
  ///   - queue: held open for a batch.
  public static func open(
    _ identity: EntryIdentity, sender: Address?, in layout: QueueLayout, _ queue: OpenQueue? = nil
  ) throws(RetirementRefusal) -> Retirement {
    let files = try EntryFiles.open(identity, sender: sender, in: layout, queue)
    var pending: [QuarantinedRecipient] = []
    for channel in Channel.allCases {
      for record in try files.records(of: channel) where !record.isDone {
        pending.append(
          QuarantinedRecipient(
            address: record.address, channel: channel, offset: record.offset))
      }
    }
    for channel in layout.extraChannels {
      let other = "\(layout.queue)/\(channel)/\(identity.id % UInt64(layout.split))/\(identity.id)"
      if try EntryFiles.status(other) != nil {
        throw .damaged(path: other, why: "it has recipients in a channel that is not known here")
      }
    }
    if pending.isEmpty { throw .alreadyDone }
    if !files.hasMessage {
      throw .damaged(
        path: layout.path(.mess, identity.id), why: "the message itself is missing")
    }
    return Retirement(files: files, envelope: nil, recipients: pending)
  }

  /// The message as far as its head tells of it, and its recipients still to be tried. Read once, from the file that is held.
  public mutating func readEntry() throws(RetirementRefusal) -> Entry {
    var entry = Entry(identity: identity, sender: sender)
    entry.size = files.size
    do throws(FileError) {
      switch files.mess {
      case .some(let mess):
        var limit = Int(min(entry.size, Int64(OpenQueue.firstRead)))
        beginning = try mess.file.read(limit: limit)
        var head = MessageHead(beginning)
        while head.isCut, limit < min(Int(entry.size), OpenQueue.longestHead) {
          limit = min(limit * 4, Int(entry.size), OpenQueue.longestHead)
          beginning = try mess.file.read(limit: limit)
          head = MessageHead(beginning)
        }
        entry.source = head.source
        entry.queuedBy = head.pid
        entry.isList = head.isList
        entry.subject = head.subject
      case .none: break
      }
    } catch { throw .file(error) }
    for recipient in recipients {
      if recipient.channel == .local {
        entry.local.append(Recipient(address: recipient.address))
      } else {
        entry.remote.append(Recipient(address: recipient.address))
      }
    }
    return entry
  }

  /// Takes up what an earlier process left off.
  static func resume(
    _ envelope: consuming QuarantineEnvelope, in store: QuarantineStore,
    _ files: consuming EntryFiles
  ) -> Retirement {
    let recipients = envelope.message.recipients
    var retirement = Retirement(files: files, envelope: envelope, recipients: recipients)
    retirement.store = store
    return retirement
  }

  // MARK: The steps

  /// Copies the message and its pending recipients into the store; durable only after `store.syncBatch()`.
  /// - Parameter boot: ``WallClock/bootID()``.
  public mutating func copy(
    into store: QuarantineStore, at now: Timestamp, boot: String = WallClock.bootID()
  ) throws(QuarantineError) {
    let message = QuarantinedMessage(
      identity: identity, sender: sender, size: files.size, taken: now, boot: boot,
      recipients: recipients)
    guard self.store == nil else { return }  // copied already
    switch files.mess {
    case .some(let source):
      envelope = try store.add(message, from: source.file, beginning: beginning)
    case .none: return
    }
    beginning = []
    self.store = store
  }

  /// Takes `bounce/ID`, if there is one, out of qmail-send's sight, so that the message ends without a bounce; its text goes to the
  /// store. The call after it of `store.syncBatch()` makes that last, and must come before ``mark()``.
  /// - Returns: whether there was a bounce.
  @discardableResult
  public mutating func moveBounceAside(into store: QuarantineStore) throws(RetirementRefusal)
    -> Bool
  {
    let isAside = try BounceFile(identity, in: files.layout).moveAside(files, into: store)
    bounceIsAside = isAside
    return isAside
  }

  /// Whether qmail is delivering to one of the recipients still to be marked. Then do not mark now: only when the attempt is over is it
  /// known who is pending.
  public borrowing func isBusy(_ look: DeliveriesInFlight) -> Bool {
    recipients.contains {
      $0.state == .pending
        && look.isDelivering(identity.id, from: sender, to: $0.address, over: $0.channel)
    }
  }

  /// What ``mark()`` did.
  public struct Marks: Hashable, Sendable {
    /// Recipients that we turned from T to D: ours to release.
    public var marked = 0
    /// Recipients that qmail had finished before our mark: not ours.
    public var foundDone = 0
  }

  /// Checks the entry once more, then marks what is pending: each recipient in the envelope first, then in the queue. Never without a
  /// copy that outlives the machine: what the store has not flushed yet is flushed first.
  ///
  /// - Throws: anything thrown before the first mark (`gone`, `unprocessed`, `notTheSame` always are) leaves the queue as it was, and
  ///   ``cancel(from:)`` is in order. Later, `cancel` refuses and ``Recovery`` must finish.
  public mutating func mark() throws(RetirementRefusal) -> Marks {
    guard let store else {
      throw .store(QuarantineError(.missing, files.layout.queue, "the message was not copied yet"))
    }
    do { try store.syncBatch() } catch { throw .store(error) }
    try files.check()
    var marks = Marks()
    for channel in Channel.allCases {
      for index in recipients.indices where recipients[index].channel == channel {
        try mark(index, &marks)
      }
      lastMark[channel] = try files.status(of: channel)?.modified
    }
    if bounceIsAside != false { try BounceFile(identity, in: files.layout).removeAside() }
    return marks
  }

  private mutating func mark(_ index: Int, _ marks: inout Marks) throws(RetirementRefusal) {
    let recipient = recipients[index]
    let isDone = try files.letter(of: recipient) == EntryFiles.Record.done
    switch recipient.state {
    // Its mark was lost with the machine.
    case .inDoubt where !isDone: try files.markDone(recipient)
    case .pending where isDone:
      try set(.finishedByQmail, of: index)
      marks.foundDone += 1
    case .pending:
      try set(.marked, of: index)
      // Read again: between the two reads lie the microseconds of the envelope's write, and qmail may have finished in them.
      if try files.letter(of: recipient) == EntryFiles.Record.done {
        try set(.finishedByQmail, of: index)
        marks.foundDone += 1
      } else {
        try files.markDone(recipient)
        marks.marked += 1
      }
    default: break
    }
  }

  /// After ``mark()``, with a look taken after it: puts in doubt the recipients found in delivery, those that qmail-send had read ahead with
  /// them (it reads recipient files 128 bytes at a time: qmail-send.c, `pass`), and all of a file that qmail wrote to after our marks.
  /// That ends the retirement: the envelope says so.
  ///
  /// What starts later than this look (nothing, unless qmail-send had read ahead) shows only in qmail-send's log, as `starting delivery`.
  /// - Returns: how many recipients are in doubt.
  @discardableResult
  public mutating func noteDeliveries(_ look: DeliveriesInFlight) throws(RetirementRefusal) -> Int {
    var writtenLater: Set<Channel> = []
    for channel in Channel.allCases
    where try files.status(of: channel)?.modified != lastMark[channel] {
      writtenLater.insert(channel)
    }
    try doubt(look, writtenLater: writtenLater)
    do { try envelope?.set(.marked) } catch { throw .file(error) }
    return recipients.count { $0.state == .inDoubt }
  }

  mutating func doubt(_ look: DeliveriesInFlight, writtenLater: Set<Channel> = [])
    throws(RetirementRefusal)
  {
    for channel in Channel.allCases {
      let mine = recipients.indices.filter {
        recipients[$0].channel == channel && recipients[$0].state == .marked
      }
      for index in mine {
        let recipient = recipients[index]
        let isDelivering = look.isDelivering(
          identity.id, from: sender, to: recipient.address, over: channel)
        if writtenLater.contains(channel) || isDelivering { try set(.inDoubt, of: index) }
        if isDelivering {
          let chunk = (recipient.offset + recipient.length - 1) / 128
          for ahead in mine
          where recipients[ahead].offset > recipient.offset
            && recipients[ahead].offset / 128 == chunk
          {
            try set(.inDoubt, of: ahead)
          }
        }
      }
    }
  }

  /// Gives up before the first mark: the bounce is put back and the copy removed, so that everything is as it was. If the message
  /// has left the queue meanwhile, the bounce is dropped: under its number it would reach a stranger.
  /// - Throws: `store` with `.exists` when marks have been made: then only ``Recovery`` may decide.
  public consuming func cancel(from store: QuarantineStore) throws(RetirementRefusal) {
    if recipients.contains(where: { $0.state == .marked || $0.state == .inDoubt }) {
      throw .store(
        QuarantineError(
          .exists, store.path, "message \(identity.id) is marked in the queue and cannot be left"))
    }
    try abandon(in: store)
  }

  // MARK: For recovery

  borrowing func abandon(in store: QuarantineStore) throws(RetirementRefusal) {
    try BounceFile(identity, in: files.layout).giveUp(files)
    switch envelope {
    case .none: return
    case .some: do { try store.delete(identity) } catch { throw .store(error) }
    }
  }

  /// The letter that the queue has for each recipient now.
  borrowing func letters() throws(RetirementRefusal) -> [UInt8] {
    var letters: [UInt8] = []
    for recipient in recipients { letters.append(try files.letter(of: recipient)) }
    return letters
  }

  /// When the recipient file of each channel was last written.
  borrowing func lastWrites() throws(RetirementRefusal) -> [Channel: Timestamp] {
    var found: [Channel: Timestamp] = [:]
    for channel in Channel.allCases { found[channel] = try files.status(of: channel)?.modified }
    return found
  }

  mutating func set(_ state: QuarantinedState, of index: Int) throws(RetirementRefusal) {
    do { try envelope?.set(state, of: index) } catch { throw .file(error) }
    recipients[index].state = state
  }
}
