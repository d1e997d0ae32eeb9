import Files
import Glibc
import Mail

/// Finishes what a process left off when it was killed in the middle of a retirement: how far it came follows from the envelope's
/// states and the queue's letters. May itself be stopped anywhere and called again.
///
/// | envelope | queue | meaning |
/// |---|---|---|
/// | none | | nothing was marked: abandoned |
/// | P | T | not yet marked |
/// | P | D, or gone | qmail finished this one itself (after a restart of the machine: in doubt, our note of a mark may be lost) |
/// | M | T | about to be marked, or the mark was lost with the machine: not marked |
/// | M | D, or gone | ours, or in doubt |
///
/// The kill may have come between the last note and its mark, and qmail have finished that recipient since; or before the look that ends a
/// retirement, and a delivery under way have reached any of them. Our last mark follows its note within microseconds. Where the queue's
/// file was written later than that, all that were noted are in doubt, where earlier, the last one. Of an entry that has left, all are.
public enum Recovery {
  /// What became of the message.
  public enum Outcome: Hashable, Sendable {
    /// Nothing was marked: the queue is as if we had never touched the message, and the copy is removed.
    case abandoned
    /// qmail had finished every recipient itself; the copy is removed.
    case finishedByQmail
    /// Every recipient is dealt with and the message stands in quarantine; so many were marked only now.
    case quarantined(markedNow: Int)
    /// Half marked, and qmail is delivering to one of the others: call again in a moment.
    case postponed
  }

  /// - Parameters:
  ///   - look: taken before this call.
  ///   - boot: ``WallClock/bootID()``.
  ///   - lookAgain: asked when marks have been made, for the look that ends a retirement.
  /// - Throws: what stands in the way; nothing is removed then.
  public static func finish(
    _ identity: EntryIdentity, in layout: QueueLayout, store: QuarantineStore,
    look: DeliveriesInFlight, boot: String = WallClock.bootID(),
    lookAgain: () throws(RetirementRefusal) -> DeliveriesInFlight
  ) throws(RetirementRefusal) -> Outcome {
    let found: QuarantineEnvelope
    do { found = try store.envelope(identity) } catch {
      guard error.kind == .missing else { throw .store(error) }
      return try abandonPartial(identity, in: layout, store: store)
    }
    let message = found.message
    // No message that qmail-send has taken in bears the time of its todo, so this one never left: it stays in the queue.
    if try EntryFiles.status(layout.path(.todo, identity.id))?.modified == identity.birth {
      do { try store.delete(identity) } catch { throw .store(error) }
      return .abandoned
    }
    if message.phase == .unprocessed { return try finishUnprocessed(found, in: layout, store) }
    let noted: Timestamp
    do { noted = try found.modified() } catch { throw .file(error) }
    let files: EntryFiles
    do { files = try EntryFiles.open(identity, sender: message.sender, in: layout) } catch {
      switch error {
      case .gone, .notTheSame: return try finishGone(found, in: layout, store: store, boot: boot)
      // The next message of this number, most likely: once that is taken in, it is known.
      case .unprocessed: return .postponed
      default: throw error
      }
    }
    var retirement = Retirement.resume(found, in: store, files)
    let letters = try retirement.letters()
    let writes = try retirement.lastWrites()
    for (index, state) in states(of: message, letters: letters, noted, writes, boot: boot) {
      try retirement.set(state, of: index)
    }
    try retirement.doubt(look)
    let isOurs = retirement.recipients.contains { $0.state == .marked || $0.state == .inDoubt }
    let isPending = retirement.recipients.contains { $0.state == .pending }
    guard isOurs else {
      try retirement.abandon(in: store)
      return isPending ? .abandoned : .finishedByQmail
    }
    do { _ = try store.read(identity) } catch { throw .store(error) }
    if retirement.isBusy(look) { return .postponed }
    try retirement.moveBounceAside(into: store)
    do { try store.syncBatch() } catch { throw .store(error) }
    let marks = try retirement.mark()
    try retirement.noteDeliveries(try lookAgain())
    return .quarantined(markedNow: marks.marked)
  }

  /// Between a note and its mark there are two system calls; file times move in ticks of up to 10 ms.
  private static let promptness = Duration.milliseconds(20)

  /// The states that the table gives where they differ, by index.
  /// - Parameters:
  ///   - letters: the queue's, by index; nil for an entry that has left.
  ///   - noted: when the envelope was last written.
  ///   - writes: when each recipient file was.
  private static func states(
    of message: QuarantinedMessage, letters: [UInt8]?, _ noted: Timestamp,
    _ writes: [Channel: Timestamp], boot: String
  ) -> [(index: Int, state: QuarantinedState)] {
    let isSettled = message.phase == .marked
    let hasRestarted = message.boot != boot || boot.isEmpty
    // Marks are made in order, so only the last one noted can have been cut off between note and mark.
    let last = isSettled ? nil : message.recipients.lastIndex { $0.state != .pending }
    func isEarly(_ channel: Channel) -> Bool { writes[channel].map { $0 < noted } ?? true }
    func isLate(_ channel: Channel) -> Bool {
      letters == nil ? !isSettled : writes[channel].map { $0 >= noted + promptness } ?? false
    }
    var changes: [(Int, QuarantinedState)] = []
    for (index, recipient) in message.recipients.enumerated() {
      let isDone = letters.map { $0[index] == EntryFiles.Record.done } ?? true
      switch recipient.state {
      case .pending where isDone:
        changes.append((index, hasRestarted ? .inDoubt : .finishedByQmail))
      case .marked where !isDone: changes.append((index, .pending))
      case .marked where hasRestarted && !isSettled, .marked where isLate(recipient.channel),
        .marked where index == last && isEarly(recipient.channel):
        changes.append((index, .inDoubt))
      default: break
      }
    }
    return changes
  }

  /// The entry has left the queue: nothing to mark, only to decide what is ours.
  private static func finishGone(
    _ envelope: consuming QuarantineEnvelope, in layout: QueueLayout, store: QuarantineStore,
    boot: String
  ) throws(RetirementRefusal) -> Outcome {
    var envelope = envelope
    let message = envelope.message
    try BounceFile(message.identity, in: layout).drop()
    do throws(FileError) {
      let noted = try envelope.modified()
      for (index, state) in states(of: message, letters: nil, noted, [:], boot: boot) {
        try envelope.set(state, of: index)
      }
      let owed = envelope.message.recipients.filter { $0.state != .finishedByQmail }
      if owed.contains(where: { $0.state != .released }) {
        try envelope.set(QuarantinedMessage.Phase.marked)
        return .quarantined(markedNow: 0)
      }
    } catch {
      throw .file(error)
    }
    do { try store.delete(message.identity) } catch { throw .store(error) }
    return .finishedByQmail
  }

  /// Cut off while a message was taken out of todo, and `todo/ID` is not there. Without the note, which is on the disk before `todo/ID`
  /// is removed, qmail-send took it in. With it, that may be so too: where the entry still stands, it is left to qmail; where nothing tells,
  /// its recipients are in doubt.
  private static func finishUnprocessed(
    _ envelope: consuming QuarantineEnvelope, in layout: QueueLayout, _ store: QuarantineStore
  ) throws(RetirementRefusal) -> Outcome {
    var envelope = envelope
    let message = envelope.message
    let id = message.identity.id
    // Older than the copy: it is this message's, not that of a newcomer with its number.
    let mess = try EntryFiles.status(layout.path(.mess, id)).map { $0.modified <= message.taken }
    let isTakenIn = try EntryFiles.status(layout.path(.info, id)) != nil
    if message.recipients.contains(where: { $0.state == .pending }) || mess == true && isTakenIn {
      do { try store.delete(message.identity) } catch { throw .store(error) }
      return .abandoned
    }
    do throws(FileError) {
      if mess != true {
        for index in message.recipients.indices { try envelope.set(.inDoubt, of: index) }
      }
      try envelope.set(QuarantinedMessage.Phase.marked)
    } catch { throw .file(error) }
    return .quarantined(markedNow: 0)
  }

  /// A copy cut short: nothing was marked.
  private static func abandonPartial(
    _ identity: EntryIdentity, in layout: QueueLayout, store: QuarantineStore
  ) throws(RetirementRefusal) -> Outcome {
    let bounce = BounceFile(identity, in: layout)
    if try bounce.isAside {
      do {
        let files = try EntryFiles.open(
          identity, sender: try sender(of: identity, in: layout), in: layout)
        try bounce.giveUp(files)
      } catch {
        switch error {
        case .gone, .notTheSame, .unprocessed: try bounce.drop()
        default: throw error
        }
      }
    }
    do { try store.delete(identity) } catch { throw .store(error) }
    return .abandoned
  }

  /// What the queue says now: a copy cut short does not tell.
  private static func sender(of identity: EntryIdentity, in layout: QueueLayout)
    throws(RetirementRefusal) -> Address
  {
    guard let info = try EntryFiles.open(layout.path(.info, identity.id), .read) else {
      throw .gone
    }
    do throws(FileError) {
      return Address(try info.read(limit: 4096).dropFirst().prefix { $0 != 0 })
    } catch { throw .file(error) }
  }
}
