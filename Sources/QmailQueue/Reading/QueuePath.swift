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
  private var bytes = InlineArray<64, UInt8>(repeating: 0)

  init(_ spread: Spread, _ kind: QueueFile, _ id: UInt64) {
    var at = 0
    let name: StaticString =
      switch kind {
      case .mess: "mess/"
      case .info: "info/"
      case .local: "local/"
      case .remote: "remote/"
      case .todo: "todo/"
      case .intd: "intd/"
      case .bounce: "bounce/"
      }
    name.withUTF8Buffer {
      for byte in $0 {
        bytes[at] = byte
        at += 1
      }
    }
    if spread.isSplit(kind) {
      put(id % spread.split, &at)
      bytes[at] = UInt8(ascii: "/")
      at += 1
    }
    put(id, &at)
  }

  /// The name inside a split directory.
  init(_ id: UInt64) {
    var at = 0
    put(id, &at)
  }

  /// At most 20 digits each: 7 + 20 + 1 + 20 and the final NUL fit in 64.
  private mutating func put(_ number: UInt64, _ at: inout Int) {
    var digits = 1
    var rest = number
    while rest >= 10 {
      rest /= 10
      digits += 1
    }
    rest = number
    for i in (0..<digits).reversed() {
      bytes[at + i] = UInt8(48 + rest % 10)
      rest /= 10
    }
    at += digits
  }

  func withCString<R>(_ body: (UnsafePointer<CChar>) -> R) -> R {
    bytes.span.withUnsafeBytes { raw in
      body(raw.assumingMemoryBound(to: CChar.self).baseAddress.unsafelyUnwrapped)
    }
  }
}
