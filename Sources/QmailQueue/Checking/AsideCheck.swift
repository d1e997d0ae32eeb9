import Files
import Mail

/// The bounce files that qwarden moved out of qmail-send's sight, `bounce/qwarden.ID.BIRTH`: forgotten once their message is gone.
enum AsideCheck {
  static func faults(in names: NameList, _ layout: QueueLayout) -> [QueueFinding] {
    names.asides.filter { isForgotten($0.path, layout) }.map {
      QueueFinding(fault: .bounceAside, path: $0.path, witness: .init($0.status))
    }
  }

  /// The message it belonged to, by number and birth, is not there.
  static func isForgotten(_ path: String, _ layout: QueueLayout) -> Bool {
    let parts = path.split(separator: "/").last?.split(separator: ".") ?? []
    guard parts.count == 3, let id = UInt64(parts[1]), let birth = Int64(parts[2]) else {
      return true
    }
    do { return try FileStatus.of(layout.path(.info, id)).modified.nanoseconds != birth } catch {
      return error.isMissing
    }
  }
}
