import Foundation
import Mail

/// Where things that came from mail are shown or kept, and what none of them may do there.
enum Sink: CaseIterable {
  /// Output for people, line by line: commands, log lines, error messages, syslog.
  case terminal
  /// One object a line.
  case json
  case html
  case prometheus
  /// One entry in journald's own protocol.
  case journal
  /// One datagram of sd_notify(3).
  case notification

  func complaints(_ output: [UInt8]) -> [String] {
    switch self {
    case .terminal: Self.readable(output, allowing: "\n\t")
    case .json: Self.objects(output).complaints
    case .html: Self.page(output)
    case .prometheus: Self.figures(output)
    case .journal: Self.entry(output)
    case .notification: Self.notification(output)
    }
  }

  /// The objects of machine-readable output, with what is wrong about it.
  static func objects(_ output: [UInt8]) -> (objects: [[String: Any]], complaints: [String]) {
    var objects: [[String: Any]] = []
    var complaints = readable(output, allowing: "\n")
    for line in output.split(separator: 10) {
      if let object = try? JSONSerialization.jsonObject(with: Data(line)) as? [String: Any] {
        objects.append(object)
        if object.keys.contains("FORGED") { complaints.append("an object of its own") }
      } else {
        complaints.append("no JSON object: \(Escaping.terminal(line.prefix(200)))")
      }
    }
    return (objects, complaints)
  }

  /// Fields and values of an entry in journald's protocol; nil where it is none.
  static func fields(_ datagram: [UInt8]) -> [(name: String, value: [UInt8])]? {
    var fields: [(name: String, value: [UInt8])] = []
    var rest = datagram[...]
    while !rest.isEmpty {
      guard let end = rest.firstIndex(of: 10) else { return nil }
      let line = rest[..<end]
      rest = rest[(end + 1)...]
      if let equals = line.firstIndex(of: UInt8(ascii: "=")) {
        fields.append((Text.decode(line[..<equals]), Array(line[(equals + 1)...])))
        continue
      }
      let length = rest.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
      guard rest.count > 8 + length else { return nil }
      fields.append((Text.decode(line), Array(rest.dropFirst(8).prefix(length))))
      rest = rest.dropFirst(8 + length + 1)
    }
    return fields
  }

  private static func readable(_ output: [UInt8], allowing kept: String) -> [String] {
    guard let text = String(validating: output, as: UTF8.self) else {
      return ["not UTF-8: \(Escaping.terminal(output.prefix(300)))"]
    }
    var complaints: [String] = []
    for line in text.unicodeScalars.split(separator: "\n") {
      let shown = { Escaping.terminal(String(String.UnicodeScalarView(line)).prefix(200).utf8) }
      if let odd = line.first(where: { isActive($0) && !kept.unicodeScalars.contains($0) }) {
        complaints.append("U+\(String(odd.value, radix: 16)) in: \(shown())")
      }
      if line.drop(while: { " \t|->".unicodeScalars.contains($0) }).starts(
        with: "FORGED".unicodeScalars)
      {
        complaints.append("a line of its own: \(shown())")
      }
    }
    return complaints
  }

  /// Moves a cursor, turns text around, or does not show.
  private static func isActive(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    case .control, .format, .surrogate, .privateUse, .lineSeparator, .paragraphSeparator: true
    default: false
    }
  }

  private static func page(_ output: [UInt8]) -> [String] {
    let page = StrictReader(String(decoding: output, as: UTF8.self))
    let foreign = ["script", "img", "iframe", "link", "object", "a", "base", "form"]
    return readable(output, allowing: "\n") + page.complaints
      + foreign.filter { page.elements[$0] != nil }.map { "an element <\($0)>" }
      + page.attributes.filter { $0.name.hasPrefix("on") }.map { "an attribute \($0.name)" }
  }

  private static func figures(_ output: [UInt8]) -> [String] {
    let form =
      #/(# (HELP|TYPE) qwarden_[a-z_]+ [A-Za-z0-9,.()' -]+|qwarden_[a-z_]+(\{[a-z]+="[A-Za-z0-9.-]*"(,[a-z]+="[A-Za-z0-9.-]*")*\})? -?[0-9.e+-]+)/#
    return String(decoding: output, as: UTF8.self).split(separator: "\n").filter {
      $0.wholeMatch(of: form) == nil
    }.map { "no sample: \($0)" }
  }

  private static func entry(_ datagram: [UInt8]) -> [String] {
    guard let fields = fields(datagram) else { return ["no entry"] }
    let plain = ["MESSAGE_ID", "PRIORITY", "SYSLOG_IDENTIFIER", "QWARDEN_EVENT"]
    var complaints: [String] = []
    for name in plain + ["MESSAGE"] where fields.count(where: { $0.name == name }) != 1 {
      complaints.append("\(name) is not there once")
    }
    for (name, value) in fields {
      if name == "MESSAGE" {
        complaints += readable(value, allowing: "")
      } else if !plain.contains(name), !name.hasPrefix("QWARDEN_") {
        complaints.append("a field \(name)")
      }
    }
    return complaints
  }

  private static func notification(_ datagram: [UInt8]) -> [String] {
    let known = [
      "READY=1", "WATCHDOG=1", "RELOADING=1", "STOPPING=1", "EXTEND_TIMEOUT_USEC=60000000",
    ]
    var complaints = readable(datagram, allowing: "\n")
    for (place, line) in datagram.split(separator: 10).enumerated() {
      let text = Text.decode(line)
      let isOurs =
        known.contains(text) && (text != "STOPPING=1" || place == 0)
        || text.hasPrefix("STATUS=") || text.hasPrefix("MONOTONIC_USEC=")
      if !isOurs { complaints.append("an assignment \(text)") }
    }
    return complaints
  }
}
