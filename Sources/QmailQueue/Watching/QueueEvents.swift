import Files
import Glibc

/// inotify on the directories of a queue: one watch a directory, none on files.
struct QueueEvents: ~Copyable {
  /// What happened to a number, in one batch of events.
  struct Touch: OptionSet {
    let rawValue: UInt8
    /// Its link in todo was made: the last that qmail-queue makes, so mess and envelope are whole.
    static let arrived = Touch(rawValue: 1)
    static let leftTodo = Touch(rawValue: 2)
    static let leftInfo = Touch(rawValue: 4)
    /// A byte of local or remote was written.
    static let channels = Touch(rawValue: 8)
    static let bounce = Touch(rawValue: 16)
    /// An info file was written or moved in: nothing new where todo was seen, but queue repair tools do it too.
    static let restored = Touch(rawValue: 32)
  }

  /// nil where the kernel gives no inotify instance; each ``watch(_:_:)`` asks again.
  private(set) var number: Int32?
  /// What is asked of the directories of each kind.
  private let masks: KeyValuePairs<QueueFile, Int32>
  private var watches: [Int32: QueueFile] = [:]
  private let buffer: UnsafeMutableRawBufferPointer
  /// Every directory is watched.
  private(set) var isComplete = false
  /// Why not.
  private(set) var note: String?
  /// Events were dropped by the kernel, or a watched directory has gone, since the last ``watch(_:)`` or ``forgive()``.
  private(set) var hasOverflowed = false
  private(set) var hasLostDirectory = false

  /// Names that go, of every directory whose files are watched.
  static let gone = IN_DELETE | IN_MOVED_FROM

  init(_ masks: KeyValuePairs<QueueFile, Int32>) {
    self.masks = masks
    buffer = .allocate(byteCount: 16 * 1024, alignment: 8)
    begin()
  }

  private mutating func begin() {
    let made = inotify_init1(Int32(IN_NONBLOCK) | Int32(IN_CLOEXEC))
    if made >= 0 {
      number = made
    } else {
      note =
        "no inotify (\(String(cString: strerror(errno)))): the queue is found out by full passes, and short-lived messages are missed; raise fs.inotify.max_user_instances"
    }
  }

  deinit {
    buffer.deallocate()
    if let number { close(number) }
  }

  /// Watches the directories of a queue, and no others any more.
  mutating func watch(_ layout: QueueLayout, _ spread: Spread) {
    if number == nil { begin() }
    guard let number else { return }
    for watch in watches.keys { inotify_rm_watch(number, watch) }
    watches = [:]
    hasLostDirectory = false
    isComplete = true
    note = nil
    for (kind, mask) in masks {
      var places = (0..<spread.directories(kind)).map { (spread.directory(kind, $0), mask) }
      // A part knows nothing of it when the directory above it is put elsewhere.
      if spread.isSplit(kind) { places.append((kind.rawValue, 0)) }
      for (name, mask) in places {
        let path = "\(layout.queue)/\(name)"
        let watch = inotify_add_watch(
          number, path,
          UInt32(bitPattern: mask | IN_DELETE_SELF | IN_MOVE_SELF) | UInt32(IN_ONLYDIR))
        if watch >= 0 {
          watches[watch] = kind
        } else {
          isComplete = false
          note =
            errno == ENOSPC
            ? "the limit of inotify watches is reached, so not all changes are seen at once; raise fs.inotify.max_user_watches"
            : "cannot watch \(path): \(String(cString: strerror(errno)))"
        }
      }
    }
  }

  /// Events have been made up for by a pass.
  mutating func forgive() { hasOverflowed = false }

  /// Takes one batch, without waiting.
  /// - Returns: number of events; 0 when there are none left.
  mutating func take(_ body: (_ id: UInt64, Touch) -> Void) -> Int {
    guard let number else { return 0 }
    let filled = Glibc.read(number, buffer.baseAddress, buffer.count)
    guard filled > 0 else { return 0 }
    var count = 0
    var at = 0
    let head = MemoryLayout<inotify_event>.size
    while at + head <= filled {
      let event = buffer.loadUnaligned(fromByteOffset: at, as: inotify_event.self)
      let start = at + head
      at = start + Int(event.len)
      count += 1
      let mask = Int32(bitPattern: event.mask)
      if mask & IN_Q_OVERFLOW != 0 {
        hasOverflowed = true
        continue
      }
      guard let kind = watches[event.wd] else { continue }
      if mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT) != 0 {
        hasLostDirectory = true
        continue
      }
      var end = start
      while end < at, buffer[end] != 0 { end += 1 }
      guard let id = UnsafeRawBufferPointer(rebasing: buffer[start..<end]).queueNumber else {
        continue
      }
      let hasCome = mask & (IN_CREATE | IN_MOVED_TO | IN_CLOSE_WRITE) != 0
      switch kind {
      case .todo: body(id, hasCome ? .arrived : .leftTodo)
      case .info: body(id, hasCome ? .restored : .leftInfo)
      case .bounce: body(id, .bounce)
      default: body(id, .channels)
      }
    }
    return count
  }
}
