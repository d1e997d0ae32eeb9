import Glibc

/// inotify on a log: on the file written to, and on its directory for new names.
struct LogEvents: ~Copyable {
  /// nil where the kernel gives no inotify instance: then the log is read on a timer only.
  let number: Int32?
  private var file: Int32?
  private var folder: (watch: Int32, path: String)?

  init() {
    let made = inotify_init1(Int32(IN_NONBLOCK) | Int32(IN_CLOEXEC))
    number = made >= 0 ? made : nil
  }

  deinit { if let number { close(number) } }

  mutating func watch(folder path: String) {
    guard let number, folder == nil else { return }
    let watch = inotify_add_watch(
      number, path,
      UInt32(IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF) | UInt32(IN_ONLYDIR))
    if watch >= 0 { folder = (watch, path) }
  }

  /// Watches this file, and no other any more.
  mutating func watch(file path: String) {
    guard let number else { return }
    if let file { inotify_rm_watch(number, file) }
    let watch = inotify_add_watch(number, path, UInt32(IN_MODIFY | IN_MOVE_SELF | IN_DELETE_SELF))
    file = watch >= 0 ? watch : nil
  }

  /// Takes all events: the log is looked at whatever they say.
  mutating func drain() {
    guard let number else { return }
    withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 8) { buffer in
      while true {
        let filled = read(number, buffer.baseAddress, buffer.count)
        guard filled > 0 else { return }
        var at = 0
        while at + MemoryLayout<inotify_event>.size <= filled {
          let event = buffer.loadUnaligned(fromByteOffset: at, as: inotify_event.self)
          at += MemoryLayout<inotify_event>.size + Int(event.len)
          let isGone =
            Int32(bitPattern: event.mask) & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF) != 0
          guard isGone, let folder, folder.watch == event.wd else { continue }
          // The directory itself was replaced: the next reading watches the new one.
          inotify_rm_watch(number, folder.watch)
          self.folder = nil
        }
      }
    }
  }
}
