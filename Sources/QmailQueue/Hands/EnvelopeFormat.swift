import Mail

/// How a ``QuarantinedMessage`` is laid out at the beginning of its `.mail` file; the message's bytes follow. (Version 1 had a file of its own,
/// `.envelope`, beside one with the bytes.)
///
/// ```
/// qwarden-envelope 2\n
/// C\n                                   the phase, one byte at a fixed place
/// id 999733\nbirth 1764…\ntaken 1764…\nboot 6f0c…\nsize 1559\nrecipients 2\n
/// F<sender>\0
/// Pr0 tempa@remote.example\0            state, channel (l or r), offset, blank, address
/// ```
/// State and phase letters are overwritten in place; nothing else ever changes. The reader is total: any other bytes are `nil`.
enum EnvelopeFormat {
  static let magic = Array("qwarden-envelope 2\n".utf8)
  private static let magicOfVersion1 = Array("qwarden-envelope 1\n".utf8)
  static var phaseOffset: Int64 { Int64(magic.count) }

  /// What the beginning of a file turned out to be.
  enum Reading {
    case whole(Envelope)
    /// It ends too soon. Untouched: as far as it goes, no state is other than at the moment of the copy.
    case cut(isUntouched: Bool)
    /// Not ours.
    case foreign
  }

  struct Envelope {
    var message: QuarantinedMessage
    /// Where each recipient's state letter stands.
    var states: [Int64]
    /// Where the message begins behind it; nil: in a file of its own.
    var start: Int64?
  }

  /// The file's bytes, and where each recipient's state letter stands.
  static func encode(_ message: QuarantinedMessage) -> (bytes: [UInt8], states: [Int64]) {
    var bytes = magic
    bytes += [message.phase.rawValue, newline]
    bytes += "id \(message.identity.id)\nbirth \(message.identity.birth.nanoseconds)\n".utf8
    bytes += "taken \(message.taken.nanoseconds)\nboot \(message.boot)\n".utf8
    bytes += "size \(message.size)\nrecipients \(message.recipients.count)\n".utf8
    bytes.append(UInt8(ascii: "F"))
    bytes += message.sender.bytes
    bytes.append(0)
    var states: [Int64] = []
    for recipient in message.recipients {
      states.append(Int64(bytes.count))
      bytes += [recipient.state.rawValue, letter(of: recipient.channel)]
      bytes += "\(recipient.offset) ".utf8
      bytes += recipient.address.bytes
      bytes.append(0)
    }
    return (bytes, states)
  }

  static func decode(_ bytes: [UInt8]) -> Reading {
    var reader = Reader(bytes: bytes)
    let isAlone = bytes.starts(with: magicOfVersion1)
    guard reader.take(isAlone ? magicOfVersion1 : magic),
      let phase = reader.byte().flatMap(QuarantinedMessage.Phase.init),
      reader.take([newline]),
      let id = reader.field("id", UInt64.init), let birth = reader.field("birth", Int64.init),
      let taken = reader.field("taken", Int64.init), let boot = reader.field("boot", { $0 }),
      let size = reader.field("size", Int64.init), size >= 0,
      let count = reader.field("recipients", Int.init), count > 0,
      reader.take([UInt8(ascii: "F")]), let sender = reader.upTo(0)
    else { return reader.hasEnded ? .cut(isUntouched: true) : .foreign }
    var recipients: [QuarantinedRecipient] = []
    var states: [Int64] = []
    var isUntouched = phase != .marked
    for _ in 0..<count {
      states.append(Int64(reader.at))
      guard let state = reader.byte().flatMap(QuarantinedState.init) else {
        return reader.hasEnded ? .cut(isUntouched: isUntouched) : .foreign
      }
      if state != .pending { isUntouched = false }
      guard let channel = reader.byte().flatMap(channel(of:)),
        let digits = reader.upTo(UInt8(ascii: " ")),
        let offset = Int64(String(decoding: digits, as: UTF8.self)), offset >= 0,
        let address = reader.upTo(0)
      else { return reader.hasEnded ? .cut(isUntouched: isUntouched) : .foreign }
      recipients.append(
        QuarantinedRecipient(
          address: Address(address), channel: channel, offset: offset, state: state))
    }
    return .whole(
      Envelope(
        message: QuarantinedMessage(
          identity: EntryIdentity(id: id, birth: Timestamp(nanoseconds: birth)),
          sender: Address(sender), size: size, taken: Timestamp(nanoseconds: taken), boot: boot,
          phase: phase, recipients: recipients),
        states: states, start: isAlone ? nil : Int64(reader.at)))
  }

  private static let newline = UInt8(ascii: "\n")
  private static func letter(of channel: Channel) -> UInt8 {
    switch channel {
    case .local: UInt8(ascii: "l")
    case .remote: UInt8(ascii: "r")
    }
  }
  private static func channel(of letter: UInt8) -> Channel? {
    Channel.allCases.first { self.letter(of: $0) == letter }
  }

  private struct Reader {
    let bytes: [UInt8]
    var at = 0
    /// More was asked for than there is.
    var hasEnded = false

    mutating func byte() -> UInt8? {
      guard at < bytes.count else {
        hasEnded = true
        return nil
      }
      defer { at += 1 }
      return bytes[at]
    }
    mutating func take(_ expected: [UInt8]) -> Bool {
      guard bytes[at...].starts(with: expected) else {
        hasEnded = hasEnded || expected.starts(with: bytes[at...])
        return false
      }
      at += expected.count
      return true
    }
    mutating func upTo(_ end: UInt8) -> ArraySlice<UInt8>? {
      guard let stop = bytes[at...].firstIndex(of: end) else {
        hasEnded = true
        return nil
      }
      defer { at = stop + 1 }
      return bytes[at..<stop]
    }
    mutating func field<T>(_ name: String, _ value: (String) -> T?) -> T? {
      guard take(Array("\(name) ".utf8)), let text = upTo(newline) else { return nil }
      return value(String(decoding: text, as: UTF8.self))
    }
  }
}
