import Files

/// Whether a file stands where its number says, and bears its own number.
enum PlacementCheck {
  static func faults(of file: QueueName, _ layout: QueueLayout) -> [QueueFinding] {
    var found: [QueueFinding] = []
    let right = file.id % UInt64(layout.split)
    if let part = file.part, part != right {
      found.append(
        QueueFinding(
          fault: .wrongDirectory, path: file.path,
          detail: "belongs in \(file.kind.rawValue)/\(right)", witness: .init(file.status)))
    }
    if file.kind == .mess, file.status.inode != file.id {
      found.append(
        QueueFinding(
          fault: .wrongNumber, path: file.path, detail: "inode \(file.status.inode)",
          witness: .init(file.status)))
    }
    return found
  }
}
