import Mail

/// Which files of one message may be there together (INTERNALS, states S1 to S5).
///
/// qmail-queue makes mess, intd, todo in this order; qmail-send then makes info, local and remote, and removes intd, todo. At the end
/// local, remote and bounce go first, then info, then mess.
enum OrphanCheck {
  /// An SMTP client may be silent for 20 minutes (control/timeoutsmtpd), so a younger message is no news.
  private static let slowest = Duration.seconds(1200)
  /// OSSIFIED in qmail-send.c: older than this it is removed. qmail-queue ends itself after 24 hours.
  static let ossified = Duration.seconds(129_600)

  static func fault(
    of file: QueueName, at now: Timestamp, isThere: (QueueFile, UInt64) -> Bool
  ) -> QueueFinding? {
    func has(_ kind: QueueFile) -> Bool { isThere(kind, file.id) }
    let fault: QueueFault?
    switch file.kind {
    case .mess:
      let modified = file.witness.modified
      fault =
        has(.info) || has(.todo) || modified > now - slowest
        ? nil : modified > now - ossified ? .writing : .messAlone
    case .info: fault = has(.mess) ? nil : .infoWithoutMess
    case .todo: fault = has(.mess) ? nil : .todoWithoutMess
    // Before todo is linked there is mess and no info.
    case .intd: fault = has(.todo) || has(.mess) && !has(.info) ? nil : .intdLeftover
    case .local, .remote: fault = has(.info) || has(.todo) ? nil : .channelWithoutInfo
    case .bounce: fault = has(.info) ? nil : .bounceWithoutInfo
    }
    return fault.map { file.finding($0) }
  }
}
