import Mail

/// The time stamps that logging programs put before qmail-send's lines.
enum LogStamp {
  /// A stamp at the beginning of `line`, and where the text after it begins.
  struct Found {
    var time: Timestamp
    /// Index of the first byte of the text.
    var text: Int
    /// splogger's `+`: this is the next piece of the line begun under the same stamp.
    var isContinuation = false
  }

  /// TAI64N as multilog and tai64n write it: `@`, 24 hexadecimal digits, a blank.
  ///
  /// The label counts from 2^62, and daemontools adds 10 s to unix time (tai_now in daemontools), so that is taken off again. s6-log
  /// counts leap seconds too, 27 of them until now: a stamp from the future is taken as now by the reader.
  static func tai64n(_ line: ArraySlice<UInt8>) -> Found? {
    let start = line.startIndex
    guard line.count >= 25, line[start] == UInt8(ascii: "@") else { return nil }
    if line.count > 25, line[start + 25] != UInt8(ascii: " ") { return nil }
    guard let time = label(line[(start + 1)..<(start + 25)]) else { return nil }
    return Found(time: time, text: min(start + 26, line.endIndex))
  }

  /// The 24 hexadecimal digits of a TAI64N label.
  static func label(_ digits: ArraySlice<UInt8>) -> Timestamp? {
    guard digits.count == 24 else { return nil }
    var seconds: UInt64 = 0
    var nanoseconds: UInt64 = 0
    for (place, digit) in digits.enumerated() {
      let value: UInt8
      switch digit {
      case 48...57: value = digit - 48
      case 97...102: value = digit - 87
      case 65...70: value = digit - 55
      default: return nil
      }
      if place < 16 {
        seconds = seconds << 4 | UInt64(value)
      } else {
        nanoseconds = nanoseconds << 4 | UInt64(value)
      }
    }
    let epoch = (UInt64(1) << 62) + 10
    guard seconds >= epoch, seconds - epoch <= 9_000_000_000, nanoseconds < 1_000_000_000 else {
      return nil
    }
    return Timestamp(nanoseconds: Int64(seconds - epoch) * 1_000_000_000 + Int64(nanoseconds))
  }

  /// `sec.usec ` as splogger writes it, or `sec.usec+`; one to nine digits after the point.
  static func seconds(_ line: ArraySlice<UInt8>) -> Found? {
    var at = line.startIndex
    var seconds: Int64 = 0
    while at < line.endIndex, (48...57).contains(line[at]) {
      seconds = seconds * 10 + Int64(line[at] - 48)
      at += 1
      // Ten digits last until the year 2286; nanoseconds in 64 bits until 2262.
      if at - line.startIndex > 10 { return nil }
    }
    guard at - line.startIndex >= 9, seconds <= 9_000_000_000, at < line.endIndex,
      line[at] == UInt8(ascii: ".")
    else { return nil }
    at += 1
    let fraction = at
    var nanoseconds: Int64 = 0
    while at < line.endIndex, (48...57).contains(line[at]), at - fraction < 9 {
      nanoseconds = nanoseconds * 10 + Int64(line[at] - 48)
      at += 1
    }
    guard at > fraction else { return nil }
    for _ in (at - fraction)..<9 { nanoseconds *= 10 }
    let time = Timestamp(nanoseconds: seconds * 1_000_000_000 + nanoseconds)
    if at == line.endIndex { return Found(time: time, text: at) }
    switch line[at] {
    case UInt8(ascii: " "): return Found(time: time, text: at + 1)
    case UInt8(ascii: "+"): return Found(time: time, text: at + 1, isContinuation: true)
    default: return nil
    }
  }
}
