import Files
import Mail

/// Looks for what is wrong in a queue, and changes nothing.
///
/// A live queue is never seen at one moment, so that much looks wrong that is only under way. Hence two looks: ``suspicions(at:)``
/// goes over all names; after a moment, ``confirmed(_:at:)`` looks again at what seemed wrong, in an order in which no
/// work of qmail's can deceive it (what must be there is looked for first, the suspect last), and keeps what is the same file with the same fault.
public struct QueueCheck: Sendable {
  let layout: QueueLayout

  public init(layout: QueueLayout) { self.layout = layout }

  /// The first look.
  /// - Throws: when a directory of the queue cannot be read; all of it is qmails' and qmailq's, so that it takes root.
  public func suspicions(at now: Timestamp) throws(QueueError) -> [QueueFinding] {
    let names = try NameList(layout)
    let owners = try QueueOwners(layout)
    var found = names.strays
    found += try owners.directoryFaults(layout)
    for file in names.files {
      found += PlacementCheck.faults(of: file, layout)
      if let orphan = OrphanCheck.fault(of: file, at: now, isThere: names.has) {
        found.append(orphan)
      }
      if let wrong = owners.fault(of: file) { found.append(wrong) }
    }
    found += AsideCheck.faults(in: names, layout)
    found += LockCheck(layout, owners).faults(at: now)
    return found
  }

  /// The second look: of the suspicions, those that still hold.
  public func confirmed(_ suspicions: [QueueFinding], at now: Timestamp) throws(QueueError)
    -> [QueueFinding]
  {
    if suspicions.isEmpty { return [] }
    let owners = try QueueOwners(layout)
    let atLocks = Set(LockCheck(layout, owners).faults(at: now).map(Place.init))
    let atDirectories = Set(try owners.directoryFaults(layout).map(Place.init))
    return suspicions.filter { suspicion in
      let place = Place(suspicion)
      if atLocks.contains(place) || atDirectories.contains(place) { return true }
      guard let witness = suspicion.witness else { return false }
      var partners: Set<QueueFile> = []
      if let id = suspicion.path.split(separator: "/").last.flatMap({ UInt64($0) }) {
        for kind in [QueueFile.todo, .info, .mess] where exists(layout.path(kind, id)) {
          partners.insert(kind)
        }
      }
      guard let status = try? FileStatus.of("\(layout.queue)/\(suspicion.path)") else {
        // A name that is not text cannot be looked up by its text; qmail makes none, so it is no race.
        return suspicion.fault == .junk && suspicion.path.contains("\u{FFFD}")
      }
      let file = QueueName(path: suspicion.path, status)
      switch suspicion.fault {
      case .junk, .wrongNumber, .wrongDirectory:
        return status.inode == witness.inode
      case .wrongOwner, .wrongMode:
        guard status.inode == witness.inode, let file else { return false }
        return owners.fault(of: file)?.fault == suspicion.fault
      case .bounceAside:
        return AsideCheck.isForgotten(suspicion.path, layout)
      default:
        guard QueueFinding.Witness(status) == witness, let file else { return false }
        let again = OrphanCheck.fault(of: file, at: now) { kind, _ in partners.contains(kind) }
        return again?.fault == suspicion.fault
      }
    }
  }

  private func exists(_ path: String) -> Bool { (try? FileStatus.of(path)) != nil }

  private struct Place: Hashable {
    let fault: QueueFault
    let path: String
    init(_ finding: QueueFinding) {
      fault = finding.fault
      path = finding.path
    }
  }
}
