import Mail
import Storms
import Yams

/// One setting: its name in the file, what it takes, and where it goes.
struct PolicyField {
  struct Problem {
    var place: Place
    var message: String
  }

  /// nil for a setting at the left margin.
  let section: String?
  let key: String
  /// For messages: `a duration such as 90s, 5m, 24h or 7d`.
  let expected: String
  /// The default, as the file would say it.
  let initial: String
  let take: (Node, inout Policy) -> [Problem]

  var name: String { section.map { "\($0).\(key)" } ?? key }

  /// Every setting of policy.yaml, in the order of the shipped file.
  static var all: [PolicyField] {
    [
      .word("mode", \.mode, Policy.Mode.allCases),
      .duration("polling.normal", \.polling.normal, "1s", "1h"),
      .duration("polling.storm", \.polling.storm, "1s", "1h"),
      .duration("polling.full-pass", \.polling.fullPass, "1s", "1d"),
      .logSource("log.source", \.log.source),
      .logTag("log.tag", \.log.tag),
      .duration("detection.window", \.detection.window, "30s", "1d"),
      .count("detection.messages", \.detection.messages, 2...1_000_000),
      .count("detection.recipients", \.detection.recipients, 2...10_000_000),
      .factor("detection.times-normal", \.detection.timesNormal, 1...1000),
      .count("detection.accepted-messages", \.detection.acceptedMessages, 10...100_000_000),
      .duration("detection.pause", \.detection.pause, "10s", "7d"),
      .bool("blocking.enabled", \.blocking.isEnabled),
      .kinds(
        "blocking.kinds", \.blocking.kinds,
        [.relaySender, .backscatterIn, .bounceOut, .relaySource],
        "has no sender that badmailfrom could stop"),
      .bool("blocking.local-senders", \.blocking.localSenders),
      .bool("blocking.whole-domains", \.blocking.wholeDomains),
      .duration("blocking.duration", \.blocking.duration, "1m", "365d"),
      .count("blocking.repeat-factor", \.blocking.repeatFactor, 1...100),
      .duration("blocking.longest", \.blocking.longest, "1m", "3650d"),
      .count("blocking.per-hour", \.blocking.perHour, 0...10_000),
      .duration("blocking.grace", \.blocking.grace, "0s", "3650d"),
      .dialect("blocking.dialect", \.blocking.dialect),
      .bool("quarantine.enabled", \.quarantine.isEnabled),
      .kinds(
        "quarantine.kinds", \.quarantine.kinds,
        [.backscatterIn, .bounceOut, .relaySender, .relaySource, .localScript],
        "has no messages of its own to set aside"),
      .count("quarantine.per-storm", \.quarantine.perStorm, 1...100_000_000),
      .share("quarantine.share-of-queue", \.quarantine.shareOfQueue),
      .duration("quarantine.keep", \.quarantine.keep, "1h", "3650d"),
      .share("quarantine.minimum-free-space", \.quarantine.minimumFreeSpace),
      .share("quarantine.minimum-free-inodes", \.quarantine.minimumFreeInodes),
      .duration("history.keep", \.history.keep, "1h", "3650d"),
      .size("history.size", \.history.size),
      .list(
        "protect.senders", \.protect.senders,
        "a sender such as alice@example.com, or '@example.com' for a whole domain", sender),
      .list(
        "protect.clients", \.protect.clients,
        "an address or a range such as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32",
        { ClientRange($0) == nil ? nil : $0 }),
      .list(
        "protect.users", \.protect.users, "a user name",
        { $0.isEmpty || $0.utf8.count > 256 || $0.contains(" ") ? nil : $0 }),
      .list(
        "protect.uids", \.protect.uids, "a uid such as 33",
        { $0.utf8.allSatisfy { (48...57).contains($0) } ? UInt32($0) : nil }),
      .metricsFile("metrics.file", \.metrics.file),
    ]
  }

  private init(
    _ name: String, expected: String, initial: String,
    take: @escaping (Node, inout Policy) -> [Problem]
  ) {
    let parts = name.split(separator: ".").map(String.init)
    section = parts.count == 2 ? parts[0] : nil
    key = parts[parts.count - 1]
    self.expected = expected
    self.initial = initial
    self.take = take
  }

  /// A setting of one scalar; `read` returns nil for what it does not understand, `hint` may say more about it.
  private static func scalar<Value>(
    _ name: String, _ target: WritableKeyPath<Policy, Value>, _ expected: String,
    write: (Value) -> String, hint: @escaping (Node.Scalar) -> String? = { _ in nil },
    read: @escaping (Node.Scalar) -> Value?
  ) -> PolicyField {
    PolicyField(
      name, expected: expected, initial: write(Policy()[keyPath: target])
    ) { node, policy in
      var more = ""
      if case .scalar(let scalar) = node {
        if let value = read(scalar) {
          policy[keyPath: target] = value
          return []
        }
        more = hint(scalar).map { "; \($0)" } ?? ""
      }
      return [
        Problem(
          place: Place(node.mark), message: "expected \(expected), found \(node.spoken)\(more)")
      ]
    }
  }

  private static func word<Value: RawRepresentable<String>>(
    _ name: String, _ target: WritableKeyPath<Policy, Value>, _ words: [Value]
  ) -> PolicyField {
    let known = words.map(\.rawValue)
    return scalar(
      name, target, choice(known), write: \.rawValue,
      hint: { NearestKey.of($0.string, among: known).map { "did you mean '\($0)'?" } },
      read: { Value(rawValue: $0.string) })
  }

  private static func choice(_ words: [String]) -> String {
    words.dropLast().joined(separator: ", ") + " or " + (words.last ?? "")
  }

  private static func bool(_ name: String, _ target: WritableKeyPath<Policy, Bool>) -> PolicyField {
    let synonyms = [
      "yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false",
    ]
    return scalar(
      name, target, "true or false", write: { "\($0)" },
      hint: { scalar in
        let word = scalar.string.lowercased()
        if scalar.style != .plain, word == "true" || word == "false" {
          return "take the quotes off"
        }
        return (synonyms[word] ?? (["true", "false"].contains(word) ? word : nil))
          .map { "write \($0)" }
      },
      read: {
        $0.style != .plain ? nil : $0.string == "true" ? true : $0.string == "false" ? false : nil
      })
  }

  /// Only plain digits: YAML 1.1 would read `10:30` as 630 and `010` as 8.
  private static func count(
    _ name: String, _ target: WritableKeyPath<Policy, Int>, _ range: ClosedRange<Int>
  ) -> PolicyField {
    scalar(
      name, target, "a whole number from \(range.lowerBound) to \(range.upperBound)",
      write: { "\($0)" },
      hint: quotesHint,
      read: {
        $0.style == .plain ? digits($0.string).flatMap { range.contains($0) ? $0 : nil } : nil
      })
  }

  private static func factor(
    _ name: String, _ target: WritableKeyPath<Policy, Double>, _ range: ClosedRange<Int>
  ) -> PolicyField {
    scalar(
      name, target, "a number from \(range.lowerBound) to \(range.upperBound), such as 4 or 2.5",
      write: { $0 == $0.rounded() ? "\(Int($0))" : "\($0)" },
      hint: quotesHint,
      read: { scalar in
        guard scalar.style == .plain, let value = decimal(scalar.string),
          value >= Double(range.lowerBound), value <= Double(range.upperBound)
        else { return nil }
        return value
      })
  }

  private static func duration(
    _ name: String, _ target: WritableKeyPath<Policy, Duration>, _ shortest: String,
    _ longest: String
  ) -> PolicyField {
    let (low, high) = (Duration(text: shortest) ?? .zero, Duration(text: longest) ?? .zero)
    return scalar(
      name, target, "a duration from \(shortest) to \(longest), such as 90s, 5m, 24h or 7d",
      write: \.text, hint: { digits($0.string) == nil ? nil : "its unit is missing: s, m, h or d" },
      read: { Duration(text: $0.string).flatMap { low <= $0 && $0 <= high ? $0 : nil } })
  }

  private static func share(_ name: String, _ target: WritableKeyPath<Policy, Double>)
    -> PolicyField
  {
    scalar(
      name, target, "a share from 0 to 1, or from 0% to 100%",
      write: { "\(Int(($0 * 100).rounded()))%" },
      hint: quotesHint,
      read: { scalar in
        let isPercent = scalar.string.hasSuffix("%")
        guard scalar.style == .plain || isPercent,
          let value = decimal(String(scalar.string.dropLast(isPercent ? 1 : 0)))
        else { return nil }
        let share = isPercent ? value / 100 : value
        return share <= 1 ? share : nil
      })
  }

  /// `200M`; 0 is none.
  private static func size(_ name: String, _ target: WritableKeyPath<Policy, Int64>) -> PolicyField
  {
    let units: [(letter: Character, bytes: Int64)] = [
      ("G", 1_000_000_000), ("M", 1_000_000),
    ]
    return scalar(
      name, target, "a size from 1M to 1000G, such as 200M or 2G, or 0 for none",
      write: { size in
        let unit = units.first { size > 0 && size % $0.bytes == 0 }
        return unit.map { "\(size / $0.bytes)\($0.letter)" } ?? "\(size)"
      },
      hint: { (digits($0.string) ?? 0) == 0 ? nil : "its unit is missing: M or G" },
      read: { scalar in
        if scalar.string == "0" { return 0 }
        guard let unit = units.first(where: { $0.letter == scalar.string.last }),
          let count = digits(String(scalar.string.dropLast())), count >= 1, count <= 1_000_000
        else { return nil }
        let size = Int64(count) * unit.bytes
        return size <= 1_000_000_000_000 ? size : nil
      })
  }

  private static func dialect(_ name: String, _ target: WritableKeyPath<Policy, String?>)
    -> PolicyField
  {
    let known = ["auto", "stock", "regex", "indimail", "sqmail", "ldap", "qsmtp"]
    return scalar(
      name, target, choice(known), write: { $0 ?? "auto" },
      hint: { NearestKey.of($0.string, among: known).map { "did you mean '\($0)'?" } },
      read: { scalar -> String?? in
        guard known.contains(scalar.string) else { return nil }
        return .some(scalar.string == "auto" ? nil : scalar.string)
      })
  }

  private static func logSource(
    _ name: String, _ target: WritableKeyPath<Policy, Policy.Log.Source>
  )
    -> PolicyField
  {
    let words: [String: Policy.Log.Source] = ["auto": .auto, "none": .none, "journal": .journal]
    return scalar(
      name, target,
      "auto, none, journal, a unit such as qmail-send.service, or the path of a file or of a multilog directory",
      write: { source in
        switch source {
        case .auto: "auto"
        case .none: "none"
        case .journal: "journal"
        case .unit(let name): name
        case .path(let path): path
        }
      },
      hint: { scalar in
        if scalar.string.contains("/"), !scalar.string.hasPrefix("/") {
          return "a path begins with /"
        }
        return NearestKey.of(scalar.string, among: words.keys.sorted()).map {
          "did you mean '\($0)'?"
        }
      },
      read: { scalar in
        let text = scalar.string
        if let word = words[text] { return word }
        // It stands in a line of its own where the place reached is kept.
        guard text.utf8.count <= 4096, text.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
          return nil
        }
        if text.hasPrefix("/") { return .path(text) }
        // systemd.unit(5): at most 255 characters.
        let isUnit =
          text.hasSuffix(".service") && text.utf8.count > 8 && text.utf8.count <= 255
          && !text.contains("/") && !text.contains(" ")
        return isUnit ? .unit(text) : nil
      })
  }

  private static func logTag(_ name: String, _ target: WritableKeyPath<Policy, String>)
    -> PolicyField
  {
    scalar(
      name, target, "a syslog tag such as qmail", write: { $0 },
      read: { scalar in
        let text = scalar.string
        let isTag =
          !text.isEmpty && text.utf8.count <= 64
          && text.utf8.allSatisfy {
            $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: ":") && $0 != UInt8(ascii: "[")
          }
        return isTag ? text : nil
      })
  }

  private static func metricsFile(_ name: String, _ target: WritableKeyPath<Policy, String?>)
    -> PolicyField
  {
    scalar(
      name, target, "none or the path of a file that ends in .prom", write: { $0 ?? "none" },
      hint: { scalar in
        if !scalar.string.hasPrefix("/") { return "a path begins with /" }
        return scalar.string.hasSuffix(".prom") ? nil : "node_exporter reads only files in .prom"
      },
      read: { scalar -> String?? in
        let text = scalar.string
        if text == "none" { return .some(nil) }
        let isPath =
          text.hasPrefix("/") && text.hasSuffix(".prom") && !text.hasSuffix("/.prom")
          && text.utf8.count <= 4096 && text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F }
        return isPath ? .some(text) : nil
      })
  }

  /// A list; every element is checked.
  private static func elements<Value>(
    _ name: String, _ expected: String, initial: [String],
    _ read: @escaping (String) -> Value?, hint: @escaping (String) -> String? = { _ in nil },
    store: @escaping ([Value], inout Policy) -> Void
  ) -> PolicyField {
    PolicyField(
      name, expected: "a list, each \(expected)", initial: "[\(initial.joined(separator: ", "))]"
    ) { node, policy in
      guard case .sequence(let sequence) = node else {
        return [
          Problem(
            place: Place(node.mark),
            message: "expected a list, one '- value' a line or [a, b], found \(node.spoken)")
        ]
      }
      var problems: [Problem] = []
      var values: [Value] = []
      for element in sequence {
        if case .scalar(let scalar) = element, !element.isNothing, let value = read(scalar.string) {
          values.append(value)
        } else {
          let more = (element.scalar?.string).flatMap(hint).map { "; \($0)" } ?? ""
          problems.append(
            Problem(
              place: Place(element.mark),
              message: "expected \(expected), found \(element.spoken)\(more)"))
        }
      }
      store(values, &policy)
      return problems
    }
  }

  private static func list<Value: Hashable>(
    _ name: String, _ target: WritableKeyPath<Policy, Set<Value>>, _ expected: String,
    _ read: @escaping (String) -> Value?
  ) -> PolicyField {
    elements(name, expected, initial: [], read) { $1[keyPath: target] = Set($0) }
  }

  private static func list<Value: Hashable>(
    _ name: String, _ target: WritableKeyPath<Policy, [Value]>, _ expected: String,
    _ read: @escaping (String) -> Value?
  ) -> PolicyField {
    elements(name, expected, initial: [], read) { $1[keyPath: target] = $0 }
  }

  private static func kinds(
    _ name: String, _ target: WritableKeyPath<Policy, Set<StormKind>>, _ fitting: [StormKind],
    _ why: String
  ) -> PolicyField {
    let known = fitting.map(\.rawValue)
    return elements(
      name, "a kind of storm (\(known.joined(separator: ", ")))",
      initial: fitting.filter(Policy()[keyPath: target].contains).map(\.rawValue),
      { text in fitting.first { $0.rawValue == text } },
      hint: { text in
        if StormKind(rawValue: text) != nil { return "\(text) \(why)" }
        return NearestKey.of(text, among: known).map { "did you mean '\($0)'?" }
      },
      store: { $1[keyPath: target] = Set($0) })
  }

  private static func quotesHint(_ scalar: Node.Scalar) -> String? {
    scalar.style != .plain && decimal(scalar.string) != nil ? "take the quotes off" : nil
  }

  /// `0`, `10`, not `010`, `+1`, `1_000`, `0x10`.
  private static func digits(_ text: String) -> Int? {
    guard !text.isEmpty, text.utf8.allSatisfy({ (48...57).contains($0) }),
      text == "0" || !text.hasPrefix("0")
    else { return nil }
    return Int(text)
  }

  /// `4`, `2.5`, `0.05`.
  private static func decimal(_ text: String) -> Double? {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count <= 2, text.utf8.count <= 20, digits(String(parts[0])) != nil,
      parts.count == 1 || !parts[1].isEmpty && parts[1].utf8.allSatisfy({ (48...57).contains($0) })
    else { return nil }
    return Double(text)
  }

  /// `local@domain` or `@domain` in lower case; no patterns.
  private static func sender(_ text: String) -> String? {
    let bytes = Array(text.lowercased().utf8)
    guard let at = bytes.lastIndex(of: UInt8(ascii: "@")), at + 1 < bytes.count,
      bytes.allSatisfy({
        $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "*") && $0 != UInt8(ascii: "<")
          && $0 != UInt8(ascii: ">")
      }),
      bytes.count <= 254, !text.contains("..")
    else { return nil }
    return String(decoding: bytes, as: UTF8.self)
  }
}
