/// Whether a file stands where its number says, and bears its own number.
enum PlacementCheck {
  static func faults(of file: QueueName, _ layout: QueueLayout) -> [QueueFinding] {
    var found: [QueueFinding] = []
    let right = file.id % UInt64(layout.split)
    if let part = file.part, part != right {
      found.append(file.finding(.wrongDirectory, "belongs in \(file.kind.rawValue)/\(right)"))
    }
    if file.kind == .mess, file.witness.inode != file.id {
      found.append(file.finding(.wrongNumber, "inode \(file.witness.inode)"))
    }
    return found
  }
}
