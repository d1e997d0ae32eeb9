/// Where queue files are, relative to the queue directory; what a layout means for names.
struct Spread: Sendable, Hashable {
  let split: UInt64
  let todoIsSplit: Bool

  init(_ layout: QueueLayout) {
    split = UInt64(layout.split)
    todoIsSplit = layout.todoIsSplit
  }

  /// Number of subdirectories of a kind of file, 1 where it is flat.
  func directories(_ kind: QueueFile) -> Int {
    switch kind {
    case .mess, .info, .local, .remote: Int(split)
    case .todo, .intd: todoIsSplit ? Int(split) : 1
    case .bounce: 1
    }
  }

  /// The `part`th directory that holds a kind of file.
  func directory(_ kind: QueueFile, _ part: Int) -> String {
    directories(kind) == 1 && !isSplit(kind) ? kind.rawValue : "\(kind.rawValue)/\(part)"
  }

  func isSplit(_ kind: QueueFile) -> Bool {
    switch kind {
    case .mess, .info, .local, .remote: true
    case .todo, .intd: todoIsSplit
    case .bounce: false
    }
  }
}

/// The relative name of one message's file as a C string, without allocation: the reader opens hundreds of thousands.
struct QueuePath {
  /// Filled from its end, which is the NUL: at most 7 + 20 + 1 + 20 bytes stand before it.
  private var bytes = InlineArray<64, UInt8>(repeating: 0)
  private var start = 63

  init(_ spread: Spread, _ kind: QueueFile, _ id: UInt64) {
    put(id)
    if spread.isSplit(kind) {
      put("/")
      put(id % spread.split)
    }
    switch kind {
    case .mess: put("mess/")
    case .info: put("info/")
    case .local: put("local/")
    case .remote: put("remote/")
    case .todo: put("todo/")
    case .intd: put("intd/")
    case .bounce: put("bounce/")
    }
  }

  /// The name inside a split directory.
  init(_ id: UInt64) { put(id) }

  private mutating func put(_ name: StaticString) {
    name.withUTF8Buffer {
      for byte in $0.reversed() { put(byte) }
    }
  }

  private mutating func put(_ number: UInt64) {
    var rest = number
    repeat {
      put(UInt8(48 + rest % 10))
      rest /= 10
    } while rest > 0
  }

  private mutating func put(_ byte: UInt8) {
    start -= 1
    bytes[start] = byte
  }

  func withCString<R>(_ body: (UnsafePointer<CChar>) -> R) -> R {
    bytes.span.withUnsafeBytes { raw in
      body(raw.assumingMemoryBound(to: CChar.self).baseAddress.unsafelyUnwrapped + start)
    }
  }
}
