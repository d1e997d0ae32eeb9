/// One line of qmail-send's log without its time stamp (qmail-log(5)).
public enum SendLogLine: Hashable, Sendable {
  case new(id: UInt64)
  case info(id: UInt64, bytes: Int64, sender: Address, pid: Int, uid: UInt32)
  case starting(delivery: UInt64, id: UInt64, channel: Channel, recipient: Address)
  case outcome(delivery: UInt64, Outcome, text: String)
  case bounce(id: UInt64, pid: Int)
  case end(id: UInt64)
  case status(text: String)
  /// warning:, alert:, triple bounce and anything this version does not know.
  case other(text: String)

  public enum Outcome: String, Hashable, Sendable {
    case success, failure, deferral
  }

  /// Never fails: what cannot be understood is ``other(text:)``.
  public init(_ line: String) { self.init(bytes: Array(line.utf8)) }

  /// The same from bytes as they stand in a log; any bytes will do.
  public init(bytes line: [UInt8]) { self = Self.parse(line) ?? .other(text: Text.decode(line)) }

  private static func parse(_ line: [UInt8]) -> SendLogLine? {
    var rest = Words(line)
    switch rest.word() {
    case "new":
      guard rest.take("msg"), let id = rest.number(UInt64.self), rest.isEmpty else { return nil }
      return .new(id: id)
    case "end":
      guard rest.take("msg"), let id = rest.number(UInt64.self), rest.isEmpty else { return nil }
      return .end(id: id)
    case "bounce":
      guard rest.take("msg"), let id = rest.number(UInt64.self), rest.take("qp"),
        let pid = rest.number(Int.self), rest.isEmpty
      else { return nil }
      return .bounce(id: id, pid: pid)
    case "status:":
      return .status(text: Text.decode(rest.bytes))
    case "info":
      // info msg ID: bytes N from <S> qp PID uid U; S may hold anything but a line end, so the end is read from the right.
      guard rest.take("msg"), let id = rest.number(UInt64.self, before: ":"), rest.take("bytes"),
        let bytes = rest.number(Int64.self), rest.take("from"),
        let uid = rest.lastNumber(UInt32.self), rest.takeLast("uid"),
        let pid = rest.lastNumber(Int.self), rest.takeLast("qp"),
        rest.bytes.first == UInt8(ascii: "<"), rest.bytes.count >= 2,
        rest.bytes.last == UInt8(ascii: ">")
      else { return nil }
      return .info(
        id: id, bytes: bytes, sender: Address(rest.bytes.dropFirst().dropLast()), pid: pid, uid: uid
      )
    case "starting":
      // starting delivery D: msg ID to local ADDR
      guard rest.take("delivery"), let delivery = rest.number(UInt64.self, before: ":"),
        rest.take("msg"), let id = rest.number(UInt64.self), rest.take("to"),
        let channel = Channel(rawValue: rest.word()), !rest.hasEnded
      else { return nil }
      return .starting(delivery: delivery, id: id, channel: channel, recipient: Address(rest.bytes))
    case "delivery":
      guard let delivery = rest.number(UInt64.self, before: ":") else { return nil }
      // qmail-send keeps the recipient and tries again (`del_dochan` in qmail-send.c).
      if rest.bytes.elementsEqual("report mangled, will defer".utf8) {
        return .outcome(delivery: delivery, .deferral, text: "report mangled, will defer")
      }
      let word = rest.word()
      guard word.last == ":", let outcome = Outcome(rawValue: String(word.dropLast())) else {
        return nil
      }
      return .outcome(delivery: delivery, outcome, text: Text.decode(rest.bytes))
    default: return nil
    }
  }
}

/// Words parted by single blanks, taken from either end.
private struct Words {
  var bytes: ArraySlice<UInt8>
  /// The last word has been taken and no blank followed it.
  private(set) var hasEnded = false

  init(_ line: [UInt8]) { bytes = line[...] }

  var isEmpty: Bool { bytes.isEmpty }

  /// The next word as text; what is not ASCII is no word of qmail's and becomes empty.
  mutating func word() -> String {
    let taken = next()
    // No word looked for here is longer.
    guard taken.count <= 20, taken.allSatisfy({ $0 < 0x80 }) else { return "" }
    return String(decoding: taken, as: UTF8.self)
  }

  mutating func take(_ word: String) -> Bool { next().elementsEqual(word.utf8) }

  mutating func number<Number: FixedWidthInteger>(
    _ type: Number.Type, before mark: Unicode.Scalar? = nil
  ) -> Number? {
    var digits = next()
    if let mark {
      guard digits.last == UInt8(ascii: mark) else { return nil }
      digits.removeLast()
    }
    return Self.number(digits)
  }

  mutating func lastNumber<Number: FixedWidthInteger>(_ type: Number.Type) -> Number? {
    Self.number(last())
  }

  mutating func takeLast(_ word: String) -> Bool { last().elementsEqual(word.utf8) }

  private mutating func next() -> ArraySlice<UInt8> {
    guard let blank = bytes.firstIndex(of: UInt8(ascii: " ")) else {
      hasEnded = true
      defer { bytes = [] }
      return bytes
    }
    defer { bytes = bytes[(blank + 1)...] }
    return bytes[..<blank]
  }

  private mutating func last() -> ArraySlice<UInt8> {
    guard let blank = bytes.lastIndex(of: UInt8(ascii: " ")) else {
      defer { bytes = [] }
      return bytes
    }
    defer { bytes = bytes[..<blank] }
    return bytes[(blank + 1)...]
  }

  private static func number<Number: FixedWidthInteger>(_ digits: ArraySlice<UInt8>) -> Number? {
    guard !digits.isEmpty, digits.count <= 20 else { return nil }
    var number: Number = 0
    for digit in digits {
      guard digit >= 48, digit <= 57 else { return nil }
      let (scaled, first) = number.multipliedReportingOverflow(by: 10)
      let (sum, second) = scaled.addingReportingOverflow(Number(digit - 48))
      guard !first, !second else { return nil }
      number = sum
    }
    return number
  }
}
