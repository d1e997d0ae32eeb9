import Mail

/// The known keys of one line of a trace, read straight from its bytes. What has the wrong type counts as missing; what is not known is
/// passed over.
struct TraceLine {
  var event: JSONCursor.StringPlace?
  var t: Double?
  var id: Int64?
  var birth: Double?
  var size: Int64?
  var sender: JSONCursor.StringPlace?
  var subject: JSONCursor.StringPlace?
  var line: JSONCursor.StringPlace?
  var source = Source.unknown
  var queuedBy: Int64?
  var isList = false
  var isUnprocessed = false
  var isBouncing = false
  var local: [Recipient] = []
  var remote: [Recipient] = []
  var doneLocal: Int64 = 0
  var doneRemote: Int64 = 0
  var failed: Int64?
  var messages: Int64 = 0
  var unprocessed: Int64 = 0
  var isRunning: Bool?
  var freeSpace: Double?
  var freeInodes: Double?
  private(set) var isObject = true
  private var cursor = JSONCursor()

  init(_ text: Span<UInt8>) throws(JSONValue.Malformed) {
    guard cursor.peek(text) == UInt8(ascii: "{") else {
      try cursor.skip(text)
      try cursor.end(text)
      isObject = false
      return
    }
    var isMore = try cursor.enter(.object, text)
    while isMore {
      let key = try cursor.key(text)
      try member(key, text)
      isMore = try cursor.more(.object, text)
    }
    try cursor.end(text)
  }

  func bytes(_ place: JSONCursor.StringPlace?, _ text: Span<UInt8>) -> [UInt8]? {
    place.map { cursor.bytes(of: $0, text) }
  }

  private mutating func member(_ key: JSONCursor.StringPlace, _ text: Span<UInt8>)
    throws(JSONValue.Malformed)
  {
    func isKey(_ name: StaticString) -> Bool { text.isWord(name, at: key.range) }
    // By length first: there are many keys, and a trace has millions of them.
    switch key.range.count {
    case 1 where isKey("t"): t = try double(text)
    case 2 where isKey("id"): id = try integer(text)
    case 2 where isKey("qp"): queuedBy = try integer(text)
    case 4 where isKey("line"): line = try string(text)
    case 4 where isKey("size"): size = try integer(text)
    case 4 where isKey("list"): isList = try bool(text) ?? false
    case 4 where isKey("done"): try done(text)
    case 5 where isKey("event"): event = try string(text)
    case 5 where isKey("birth"): birth = try double(text)
    case 5 where isKey("local"): local = try recipients(text)
    case 6 where isKey("sender"): sender = try string(text)
    case 6 where isKey("source"): source = try source(text)
    case 6 where isKey("remote"): remote = try recipients(text)
    case 6 where isKey("failed"): failed = try integer(text)
    case 7 where isKey("subject"): subject = try string(text)
    case 7 where isKey("running"): isRunning = try bool(text)
    case 8 where isKey("bouncing"): isBouncing = try bool(text) ?? false
    case 8 where isKey("messages"): messages = try integer(text) ?? 0
    case 10 where isKey("free_space"): freeSpace = try double(text)
    case 11 where isKey("free_inodes"): freeInodes = try double(text)
    case 11 where isKey("unprocessed"):
      // A flag of an arrival, a figure of counts.
      switch cursor.peek(text) {
      case UInt8(ascii: "t"), UInt8(ascii: "f"): isUnprocessed = try bool(text) ?? false
      default: unprocessed = try integer(text) ?? 0
      }
    default: try cursor.skip(text)
    }
  }
}

// Values by their type; of another type they are passed over and missing.
extension TraceLine {
  private mutating func string(_ text: Span<UInt8>) throws(JSONValue.Malformed)
    -> JSONCursor.StringPlace?
  {
    if cursor.peek(text) == UInt8(ascii: "\"") { return try cursor.string(text) }
    try cursor.skip(text)
    return nil
  }

  private mutating func number(_ text: Span<UInt8>) throws(JSONValue.Malformed)
    -> JSONCursor.NumberPlace?
  {
    switch cursor.peek(text) {
    case 0x30...0x39, UInt8(ascii: "-"): return try cursor.number(text)
    default:
      try cursor.skip(text)
      return nil
    }
  }

  private mutating func integer(_ text: Span<UInt8>) throws(JSONValue.Malformed) -> Int64? {
    try number(text).flatMap { cursor.integer($0, text) }
  }

  private mutating func double(_ text: Span<UInt8>) throws(JSONValue.Malformed) -> Double? {
    try number(text).flatMap { cursor.double($0, text) }
  }

  private mutating func bool(_ text: Span<UInt8>) throws(JSONValue.Malformed) -> Bool? {
    let first = cursor.peek(text)
    try cursor.skip(text)
    switch first {
    case UInt8(ascii: "t"): return true
    case UInt8(ascii: "f"): return false
    default: return nil
    }
  }

  private mutating func recipients(_ text: Span<UInt8>) throws(JSONValue.Malformed) -> [Recipient] {
    guard cursor.peek(text) == UInt8(ascii: "[") else {
      try cursor.skip(text)
      return []
    }
    var found: [Recipient] = []
    var isMore = try cursor.enter(.array, text)
    while isMore {
      if let place = try string(text) {
        found.append(Recipient(address: Address(cursor.bytes(of: place, text))))
      }
      isMore = try cursor.more(.array, text)
    }
    return found
  }

  private mutating func done(_ text: Span<UInt8>) throws(JSONValue.Malformed) {
    guard cursor.peek(text) == UInt8(ascii: "{") else { return try cursor.skip(text) }
    var isMore = try cursor.enter(.object, text)
    while isMore {
      let key = try cursor.key(text)
      if text.isWord("local", at: key.range) {
        doneLocal = try integer(text) ?? 0
      } else if text.isWord("remote", at: key.range) {
        doneRemote = try integer(text) ?? 0
      } else {
        try cursor.skip(text)
      }
      isMore = try cursor.more(.object, text)
    }
  }

  /// Where a message came from; with the members of an `original`, which stand beside those of its source.
  private struct Described {
    var source = Source.unknown
    var sender = Address.null
    var failed: Int64 = 1
  }

  private mutating func source(_ text: Span<UInt8>) throws(JSONValue.Malformed) -> Source {
    guard cursor.peek(text) == UInt8(ascii: "{") else {
      try cursor.skip(text)
      return .unknown
    }
    return try described(text).source
  }

  private mutating func described(_ text: Span<UInt8>) throws(JSONValue.Malformed) -> Described {
    var via: JSONCursor.StringPlace?
    var client: JSONCursor.StringPlace?
    var helo: JSONCursor.StringPlace?
    var user: JSONCursor.StringPlace?
    var uid: Int64 = 0
    var original: Described?
    var found = Described()
    var isMore = try cursor.enter(.object, text)
    while isMore {
      let key = try cursor.key(text)
      switch key.range.count {
      case 3 where text.isWord("via", at: key.range): via = try string(text)
      case 3 where text.isWord("uid", at: key.range): uid = try integer(text) ?? 0
      case 4 where text.isWord("helo", at: key.range): helo = try string(text)
      case 4 where text.isWord("user", at: key.range): user = try string(text)
      case 6 where text.isWord("client", at: key.range): client = try string(text)
      case 6 where text.isWord("sender", at: key.range):
        found.sender = Address(bytes(try string(text), text) ?? [])
      case 6 where text.isWord("failed", at: key.range): found.failed = try integer(text) ?? 1
      case 8 where text.isWord("original", at: key.range):
        if cursor.peek(text) == UInt8(ascii: "{") {
          original = try described(text)
        } else {
          try cursor.skip(text)
        }
      default: try cursor.skip(text)
      }
      isMore = try cursor.more(.object, text)
    }
    func word(_ place: JSONCursor.StringPlace?) -> String? { bytes(place, text).map(Text.decode) }
    guard let via else { return found }
    if text.isWord("network", at: via.range) {
      found.source = .network(client: word(client) ?? "", helo: word(helo), user: word(user))
    } else if text.isWord("uid", at: via.range) {
      found.source = .uid(UInt32(clamping: uid))
    } else if text.isWord("alias", at: via.range) {
      found.source = .alias
    } else if text.isWord("bounce", at: via.range) {
      found.source = .bounce(
        original: original.map { inner in
          // The innermost message is never itself a bounce.
          .init(
            sender: inner.sender, source: inner.source.isBounce ? .unknown : inner.source,
            failedRecipients: Int(clamping: inner.failed))
        })
    }
    return found
  }
}
