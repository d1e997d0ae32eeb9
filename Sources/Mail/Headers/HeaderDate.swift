/// Dates as header fields hold them.
public enum HeaderDate {
  private static let months = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
  ]
  private static let zones = [
    "est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6, "pst": -8, "pdt": -7,
    "cet": 1, "cest": 2, "met": 1, "mest": 2, "bst": 1,
  ]
  private static let longest = 200

  /// `Mon, 23 Nov 2026 17:41:04 +0000` (RFC 5322) and what is met beside it: no weekday, comments, two-digit years, names of zones,
  /// `23-Nov-2026`, the order of ctime(3). A time without a zone is taken as UTC.
  /// - Returns: nil when there is no day, month and year, or a number is out of its range.
  public static func parse(_ value: [UInt8]) -> Timestamp? {
    var day: Int?
    var month: Int?
    var year: Int?
    var time = (hour: 0, minute: 0, second: 0)
    var offset = 0
    for word in words(value) {
      if word.contains(":") {
        let parts = word.split(separator: ":", omittingEmptySubsequences: false)
        guard (2...3).contains(parts.count), let hour = number(parts[0]),
          let minute = number(parts[1]),
          let second = parts.count == 3 ? number(parts[2].prefix { $0 != "." }) : 0, hour < 24,
          minute < 60, second < 61
        else { return nil }
        time = (hour, minute, second)
      } else if let sign = word.first, sign == "+" || sign == "-" {
        guard word.utf8.count == 5, let zone = number(word.dropFirst()), zone % 100 < 60 else {
          continue
        }
        offset = (zone / 100 * 60 + zone % 100) * (sign == "-" ? -60 : 60)
      } else if let number = number(word) {
        if day == nil, number <= 31, word.utf8.count <= 2 {
          day = number
        } else if year == nil {
          year = word.utf8.count > 3 ? number : number < 50 ? number + 2000 : number + 1900
        }
      } else if month == nil, word.utf8.count >= 3,
        let index = months.firstIndex(of: String(word.prefix(3)))
      {
        month = index + 1
      } else if let hours = zones[String(word)] {
        offset = hours * 3600
      }
    }
    guard let day, let month, let year,
      let moment = Timestamp(
        year: year, month: month, day: day, hour: time.hour, minute: time.minute,
        second: time.second)
    else { return nil }
    return moment - .seconds(offset)
  }

  /// Lower-cased words without comments; `23-Nov-2026` is three words.
  private static func words(_ value: [UInt8]) -> [Substring] {
    var text = ""
    var depth = 0
    var last: UInt8 = 32
    for byte in value.prefix(longest) {
      if byte == UInt8(ascii: "(") { depth += 1 }
      if depth == 0 {
        let isJoint =
          byte == UInt8(ascii: "-") && (last.isLetter || last.isDigit) && !text.contains(":")
        let isBreak = byte <= 32 || byte == UInt8(ascii: ",") || byte > 126 || isJoint
        text.unicodeScalars.append(isBreak ? " " : Unicode.Scalar(byte.asciiLowercased))
        last = byte
      }
      if byte == UInt8(ascii: ")"), depth > 0 { depth -= 1 }
    }
    return text.split(separator: " ")
  }

  private static func number(_ text: Substring) -> Int? {
    guard !text.isEmpty, text.utf8.count <= 4, text.utf8.allSatisfy(\.isDigit) else { return nil }
    return Int(text)
  }
}

extension UInt8 {
  fileprivate var isDigit: Bool { self >= 48 && self <= 57 }
  fileprivate var isLetter: Bool { (asciiLowercased >= 97 && asciiLowercased <= 122) }
}

extension Timestamp {
  /// A moment by its UTC calendar fields, from the year 1900 to the last moment there is (in 2262); nil when a field is out of its range. A leap second
  /// is the second after.
  public init?(
    year: Int, month: Int, day: Int, hour: Int = 0, minute: Int = 0, second: Int = 0
  ) {
    let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    let lengths = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    guard (1900...2262).contains(year), (1...12).contains(month),
      (1...lengths[month - 1]).contains(day), (0..<24).contains(hour), (0..<60).contains(minute),
      (0...60).contains(second)
    else { return nil }
    // Howard Hinnant's days_from_civil.
    let y = month <= 2 ? year - 1 : year
    let era = y / 400
    let yoe = y - era * 400
    let doy = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
    let seconds = Int64(((days * 24 + hour) * 60 + minute) * 60 + second)
    let (nanoseconds, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    if overflow { return nil }
    self.init(nanoseconds: nanoseconds)
  }

  /// `2026-11-23`, `2026-11-23T17:41` or `2026-11-23T17:41:04`, a `Z` at the end allowed, read as UTC.
  public init?(iso8601 text: String) {
    let text = text.hasSuffix("Z") ? String(text.dropLast()) : text
    let halves = text.split(separator: "T", omittingEmptySubsequences: false)
    func numbers(_ text: Substring, _ separator: Character, _ counts: ClosedRange<Int>) -> [Int]? {
      let parts = text.split(separator: separator, omittingEmptySubsequences: false)
      let numbers = parts.compactMap { $0.utf8.allSatisfy(\.isDigit) ? Int($0) : nil }
      return counts.contains(parts.count) && numbers.count == parts.count ? numbers : nil
    }
    guard (1...2).contains(halves.count), let date = numbers(halves[0], "-", 3...3) else {
      return nil
    }
    var time = [0, 0]
    if halves.count == 2 {
      guard let given = numbers(halves[1], ":", 2...3) else { return nil }
      time = given
    }
    self.init(
      year: date[0], month: date[1], day: date[2], hour: time[0], minute: time[1],
      second: time.count == 3 ? time[2] : 0)
  }
}
