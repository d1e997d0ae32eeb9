/// The points between two lasting changes, in the order in which they are passed. A process may be killed at any of them; the tests
/// stop here and start a fresh ``Responder``.
enum Step: String, Sendable, CaseIterable {
  case blockIntended
  case removalIntended
  case badmailfromReplaced
  case blocksSettled

  case quarantineIntended
  case copied
  case copiesFlushed
  case copiesRecorded
  case bounceAside
  case bouncesFlushed
  case marked
  case deliveriesNoted
  case marksRecorded
  /// Only where qmail-send is stopped: its files were removed in qmail-send's stead.
  case removedForQmail
  case goneRecorded

  case releaseStarted
  case releaseIntended
  case releaseCommitted
  case releaseNoted
  case releaseRecorded

  case expiryIntended
  case copyDeleted
}
