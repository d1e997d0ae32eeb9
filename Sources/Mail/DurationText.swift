extension Duration {
  /// Reads `90s`, `30m`, `24h` or `7d`: a whole number and a unit, at most 100 years.
  public init?(text: String) {
    let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
    guard let last = text.last, let unit = units[last],
      text.dropLast().utf8.allSatisfy({ (48...57).contains($0) }),
      let number = Int64(text.dropLast()), number <= 3_155_760_000 / unit
    else { return nil }
    self = .seconds(number * unit)
  }

  /// `forward by 2h` or `back by 2h`, of a clock that was set.
  public var setting: String {
    let seconds = Int(abs(inSeconds).rounded())
    return "\(self > .zero ? "forward" : "back") by \(Duration.seconds(seconds).text)"
  }

  /// The shortest of the forms above that says the same, whole seconds.
  public var text: String {
    let seconds = components.seconds
    for (unit, name) in [(86_400, "d"), (3600, "h"), (60, "m")] as [(Int64, String)]
    where seconds >= unit && seconds % unit == 0 {
      return "\(seconds / unit)\(name)"
    }
    return "\(seconds)s"
  }
}

extension Double {
  /// To a tenth: `12.5`, `4.0`; `4` where it is to be short. What is no number is 0.
  public func tenths(short: Bool = false) -> String {
    let tenths = isFinite ? Int((min(max(self, -1e15), 1e15) * 10).rounded()) : 0
    let whole = "\(tenths < 0 ? "-" : "")\(tenths.magnitude / 10)"
    return short && tenths.isMultiple(of: 10) ? whole : "\(whole).\(tenths.magnitude % 10)"
  }
}
