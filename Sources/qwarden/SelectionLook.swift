import Mail
import QmailQueue
import Selection

extension Selection {
  /// A look at the queue that passes over what is not meant, reading no more of a message than the conditions and `detail` ask for.
  /// Without any condition everything is meant: commands that change something ask for `--all` before.
  func look<Item: Sendable>(
    _ detail: EntryDetail, now: Timestamp,
    make: @escaping @Sendable (Entry, OpenMessage?) -> Item?
  ) -> EntryLook<Item> {
    var detail = detail
    if needsRecipients { detail.insert(.recipients) }
    if needsMessage { detail.insert(.message) }
    let isAll = isEmpty
    return EntryLook(detail, isWanted: { isAll || mayMatch($0, now: now) }) { entry, message in
      guard isAll || matches(entry, now: now) else { return nil }
      if needsHeader, message.map(matches) != true { return nil }
      return make(entry, message)
    }
  }

  /// The IDs to look at instead of the whole queue, where the selection names them.
  var onlyIDs: Set<UInt64>? { ids.isEmpty ? nil : ids }

  /// Whether the conditions on header and body hold for a message.
  func matches(_ message: OpenMessage) -> Bool {
    guard matches(message.header) else { return false }
    guard let search = bodySearch(message.header) else { return true }
    message.forEachBodyPiece { search.take($0) }
    return search.finish()
  }
}
