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
/// | M | D, or gone | ours; but for the last one noted see below |
///
/// The kill may have come between the last note and its mark, and qmail have finished that recipient since. Our mark follows the note
/// within microseconds: where the queue's file was written last at the time of the note, the mark is ours, else it is in doubt.
public enum Recovery {
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
  ///   - look: taken just before this call.
  ///   - boot: ``bootID()``.
  /// - Throws: what stands in the way; nothing is removed then.
  public static func finish(
    _ identity: EntryIdentity, in layout: QueueLayout, store: QuarantineStore,
    look: DeliveriesInFlight, boot: String = bootID()
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
      default: throw error
      }
    }
    var retirement = Retirement.resume(found, in: store, files)
    let letters = try retirement.letters()
    let prompt = try retirement.channelsWritten(within: promptness, of: noted)
    for (index, state) in states(of: message, letters: letters, prompt: prompt, boot: boot) {
      try retirement.set(state, of: index)
    }
    let isOurs = retirement.recipients.contains { $0.state == .marked || $0.state == .inDoubt }
    let isPending = retirement.recipients.contains { $0.state == .pending }
    guard isOurs else {
      try retirement.abandon(in: store)
      return isPending ? .abandoned : .finishedByQmail
    }
    do { try store.checkSize(message) } catch { throw .store(error) }
    if retirement.isBusy(look) { return .postponed }
    try retirement.moveBounceAside(into: store)
    do { try store.syncBatch() } catch { throw .store(error) }
    return .quarantined(markedNow: try retirement.mark().marked)
  }

  /// Names this run of the machine (`/proc/sys/kernel/random/boot_id`); empty where that cannot be read.
  public static func bootID() -> String {
    guard let file = try? Descriptor.open("/proc/sys/kernel/random/boot_id"),
      let bytes = try? file.read(limit: 64)
    else { return "" }
    return String(decoding: bytes.prefix { $0 > 32 }, as: UTF8.self)
  }

  /// Between a note and its mark there are two system calls; file times move in ticks of up to 10 ms.
  private static let promptness = Duration.milliseconds(20)

  /// The states that the table gives where they differ, by index.
  /// - Parameters:
  ///   - letters: the queue's, by index; nil for an entry that has left.
  ///   - prompt: channels whose file was last written at the time of the last note.
  private static func states(
    of message: QuarantinedMessage, letters: [UInt8]?, prompt: Set<Channel>, boot: String
  ) -> [(index: Int, state: QuarantinedState)] {
    let isSettled = message.phase == .marked
    let hasRestarted = message.boot != boot || boot.isEmpty
    // Marks are made in order, so only the last one noted can have been cut off between note and mark.
    let last = isSettled ? nil : message.recipients.lastIndex { $0.state != .pending }
    var changes: [(Int, QuarantinedState)] = []
    for (index, recipient) in message.recipients.enumerated() {
      let isDone = letters.map { $0[index] == EntryFiles.Record.done } ?? true
      switch recipient.state {
      case .pending where isDone:
        changes.append((index, hasRestarted ? .inDoubt : .finishedByQmail))
      case .marked where !isDone: changes.append((index, .pending))
      case .marked where hasRestarted && !isSettled,
        .marked where index == last && !prompt.contains(recipient.channel):
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
    try BounceFile(message.identity, in: layout).removeAside()
    do throws(FileError) {
      for (index, state) in states(of: message, letters: nil, prompt: [], boot: boot) {
        try envelope.set(state, of: index)
      }
      if envelope.message.recipients.contains(where: { $0.state != .finishedByQmail }) {
        try envelope.set(QuarantinedMessage.Phase.marked)
        return .quarantined(markedNow: 0)
      }
    } catch {
      throw .file(error)
    }
    do { try store.delete(message.identity) } catch { throw .store(error) }
    return .finishedByQmail
  }

  /// Killed while a message was taken out of todo, and `todo/ID` is not there. If it was noted for removal it was removed within
  /// microseconds of the note, or qmail-send took it in after the kill: where that one still stands, it is left to qmail; where nothing
  /// tells, its recipients are in doubt.
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

  /// A copy cut short: nothing was marked. The entry's sender is not known here; its birth must do.
  private static func abandonPartial(
    _ identity: EntryIdentity, in layout: QueueLayout, store: QuarantineStore
  ) throws(RetirementRefusal) -> Outcome {
    let bounce = BounceFile(identity, in: layout)
    if try bounce.isAside {
      let info = try EntryFiles.status(layout.path(.info, identity.id))
      if info?.modified == identity.birth { try bounce.putBack() } else { try bounce.removeAside() }
    }
    do { try store.delete(identity) } catch { throw .store(error) }
    return .abandoned
  }
}
