import Files
import Fixtures
import Foundation
import Glibc
import Ledger
import Mail
import Policy
import Storms
import Systemd
import Testing

@testable import QmailControl
@testable import Watchdog
@testable import qwarden

/// No injection appears unescaped in any sink; and where what goes in is to come back, it does, whole.
@Suite(.serialized) struct InjectionTests {
  // MARK: Each sink by itself

  @Test("whatever comes in, a terminal gets one line of visible text", arguments: Injection.all)
  func escaping(_ injection: Injection) {
    let shown = Escaping.terminal(injection.bytes)
    #expect(Sink.terminal.complaints(Array(shown.utf8)) == [])
    #expect(!shown.contains("\n") && !shown.contains("\t"))
    #expect(Sink.terminal.complaints(Array("\(injection.address)".utf8)) == [])
    let page: Markup = "<p title=\"\(injection.text)\">\(injection.text)</p>"
    #expect(Sink.html.complaints(Array(page.text.utf8)) == [])
  }

  @Test("JSON: one line, nothing in it acts, and the same comes back", arguments: Injection.all)
  func json(_ injection: Injection) throws {
    var line = JSONLine()
    line.add("id", 7)
    line.add("value", bytes: injection.bytes)
    line.add("list", [injection.text])
    let (objects, complaints) = Sink.objects(line.closed + [10])
    #expect(complaints == [])
    #expect(objects.count == 1)
    #expect(objects.first?["id"] as? Int == 7)
    #expect(objects.first?["value"] as? String == injection.text)
    #expect(try JSONValue(line.closed[...])["value"]?.string == injection.text)
  }

  @Test("an event is one line in the terminal, one object, and an entry of known fields")
  func events() throws {
    for injection in Injection.all {
      var storm = Self.storm(1, injection)
      storm.reason = "seen from \(injection.address)"
      for event in [
        Event(.stormBegan, of: storm, mode: .observe, at: Self.noon),
        Event(endOf: storm, setAside: 3, mode: .enforce, at: Self.noon),
      ] {
        #expect(Sink.terminal.complaints(Array(event.wholeMessage.utf8)) == [], "\(injection.name)")
        #expect(Sink.json.complaints(event.json.closed) == [], "\(injection.name)")
      }
    }
  }

  @Test("top: nothing of a name acts, whatever the width", arguments: Injection.all)
  func top(_ injection: Injection) {
    var report = TopFrameTests.report()
    for place in report.senders.indices { report.senders[place].value = injection.text }
    for place in report.sources.indices { report.sources[place].value = injection.text }
    for place in report.storms.indices {
      report.storms[place].offenders = [injection.text]
      report.storms[place].victims = [injection.text]
      report.storms[place].held = injection.text
    }
    report.status.qmail = "/var/\(injection.text)"
    report.status.mode = injection.text
    for width in [40, 80, 200] {
      var frame = TopFrame()
      frame.width = width
      frame.height = 40
      let lines = frame.lines(report)
      #expect(Sink.terminal.complaints(Array(lines.joined(separator: "\n").utf8)) == [])
      #expect(lines.count == 40 && lines.allSatisfy { !$0.contains("\n") })
      #expect(lines.allSatisfy { TextWidth.of($0) <= width })
    }
  }

  // MARK: What is kept comes back

  @Test("the ledger gives back every byte")
  func ledger() throws {
    let folder = TemporaryFolder()
    let ledger = try Ledger("\(folder.path)/ledger.sqlite")
    // No file of the queue holds a NUL, and no column of text does: it ends there.
    let injections = Injection.all.filter { !$0.hasNUL }
    try ledger.record(
      injections.enumerated().map { place, injection in
        ActionRecord(
          incident: place + 1, action: "block", value: injection.bytes, outcome: .held,
          why: injection.text, at: Self.noon)
      })
    for (place, injection) in injections.enumerated() {
      let storm = Self.storm(place + 1, injection)
      try ledger.record(storm)
      _ = try ledger.intendBlock(
        injection.address, author: .administrator(injection.text), reason: injection.text,
        expires: Self.noon + .seconds(60), at: Self.noon)
    }
    let again = try Ledger("\(folder.path)/ledger.sqlite")
    let blocks = try again.standingBlocks()
    #expect(blocks.count == Set(injections.map(\.address.lowercased)).count)
    for (place, injection) in injections.enumerated() {
      #expect(
        try again.incident(place + 1) == Self.storm(place + 1, injection), "\(injection.name)")
      let action = try #require(try again.actions(incident: place + 1).first)
      #expect(action.value == injection.bytes && action.why == injection.text, "\(injection.name)")
      let block = try #require(
        blocks.first { $0.entry == injection.address.lowercased }, "\(injection.name)")
      #expect(block.reason == injection.text, "\(injection.name)")
      #expect(block.author == .administrator(injection.text), "\(injection.name)")
    }
  }

  @Test("a line of badmailfrom blocks its sender alone, in every dialect, and nothing else changes")
  func badmailfrom() throws {
    let admin = Array("# mine\r\nspam@elsewhere.example\n.example".utf8)
    let bob = Address("bob@x.example")
    // None with a NUL: SMTP cannot bring one.
    let others = Injection.all.filter { !$0.hasNUL }.map(\.address) + [bob, Address("x@y.test")]
    for dialect in BadmailfromDialect.allCases {
      for injection in Injection.all {
        // As the reason too: the tag is a line of the same file.
        for line in [
          OwnLine(sender: injection.address, until: Self.noon, reason: "x"),
          OwnLine(sender: bob, until: Self.noon, reason: injection.text),
        ] {
          let place: Comment = "\(dialect), \(injection.name)"
          guard let entry = try? dialect.entry(for: line.sender) else { continue }
          let bytes = BadmailfromText(admin).replacing([(line, entry)])
          #expect(bytes.starts(with: admin), place)
          let own = bytes.dropFirst(admin.count)
          #expect(own.allSatisfy { $0 == 10 || (32...126).contains($0) }, place)
          #expect(own.split(separator: 10).filter { $0.first != 35 } == [entry[...]], place)
          for other in others {
            let isMeant =
              line.sender.localPart.isEmpty
              ? other.domain == line.sender.domain : other.lowercased == line.sender
            // `^.+@host$` asks for a user.
            if isMeant, dialect == .regex, other.localPart.isEmpty { continue }
            #expect(dialect.blocks(entry, other) == isMeant, "\(place): \(other)")
          }
          let again = BadmailfromText(bytes)
          #expect(again.ownLines == [line], place)
          #expect(again.replacing([]) == admin, place)
        }
      }
    }
  }

  // MARK: The real program

  @Test("every command, the daemon and all that it writes, over a queue that holds them all")
  func program() throws {
    guard let qmail = try HostileQmail() else { return }
    var checked = 0
    func check(_ sink: Sink, _ bytes: [UInt8], _ what: String) {
      checked += 1
      #expect(sink.complaints(bytes) == [], "\(what)")
    }
    /// - Parameter sink: of standard output; what goes to standard error is for people.
    @discardableResult
    func run(_ words: [String], _ sink: Sink = .terminal, places: [String]? = nil) throws -> [UInt8]
    {
      let output = try qmail.run(words, places: places)
      let what = words.joined(separator: " ")
      check(sink, output.standard, what)
      check(.terminal, output.error, "\(what), errors")
      #expect(output.status != 132 && output.status != 133 && output.status != 139, "\(what)")
      return output.standard
    }
    let places = qmail.places
    let ids = qmail.ids.prefix(Injection.all.count - 1).map { String($0) }

    // Before the daemon takes anything out.
    let listed = Sink.objects(try run(["list", "--json", "--headers"], .json)).objects
    let senders = Set(listed.compactMap { $0["sender"] as? String })
    let subjects = Set(listed.compactMap { $0["subject"] as? String })
    for injection in Injection.all where !injection.hasNUL && !injection.isLong {
      #expect(senders.contains(injection.text), "\(injection.name) as a sender")
      // What is not in the charset it says it is shows as such.
      guard String(validating: injection.bytes, as: UTF8.self) != nil else { continue }
      #expect(subjects.contains(injection.text), "\(injection.name) as a subject")
    }
    for words in [[], ["--headers"], ["--format", "qread"], ["--ids"]] { try run(["list"] + words) }
    for key in CountKey.allCases {
      try run(["list", "--count-by", key.rawValue])
      try run(["list", "--count-by", key.rawValue, "--json"], .json)
    }
    for words in [
      ["show"], ["show", "--headers"], ["quarantine", "--dry-run"], ["delete", "-n"],
    ] {
      try run(words + ids)
    }
    try run(["show", "--json"] + ids, .json)
    try run(["check-queue", "--json"], .json)
    try run(["check-queue"])

    // The daemon, twice: events as lines and as objects.
    for json in [false, true] {
      let (printed, journal, notified) = try qmail.whileWatched(json: json) {
        for _ in 0..<300 {
          if let report = try? StatusReport.read(state: qmail.state), report.storms.count >= 5,
            report.quarantined > 0, report.quarantinePending == 0
          {
            break
          }
          usleep(50_000)
        }
        try run(["status"])
        try run(["status", "--json"], .json)
        try run(["top", "--once"])
        try run(["top", "--once", "--json"], .json)
        for injection in Injection.all where HostileQmail.storming.contains(injection.name) {
          try run(
            ["explain", "sender:\(injection.text)"] + (json ? ["--json"] : []),
            json ? .json : .terminal)
        }
        for word in ids.prefix(json ? 0 : 8) { try run(["explain", "id:\(word)"]) }
        check(.prometheus, try qmail.bytes(qmail.metrics), "metrics")
      }
      check(json ? .json : .terminal, printed, "the daemon's lines")
      #expect(!notified.isEmpty)
      for datagram in notified { check(.notification, datagram, "notification") }
      #expect(geteuid() != 0 || !journal.isEmpty)
      for entry in journal { check(.journal, entry, "journal") }
    }
    check(.json, try qmail.bytes(StatusReport.path(state: qmail.state)), "status.json")

    // What it left.
    let incidents = Sink.objects(try run(["incidents", "--json"], .json)).objects
    let offenders = Set(
      incidents.flatMap { $0["offenders"] as? [[String: Any]] ?? [] }.compactMap {
        $0["value"] as? String
      })
    for injection in Injection.all where HostileQmail.storming.contains(injection.name) {
      #expect(
        offenders.contains(injection.text) || offenders.contains(injection.text.lowercased()),
        "no storm of \(injection.name)")
    }
    try run(["incidents"])
    for number in 1...max(1, incidents.count) {
      try run(["incidents", "\(number)"])
      try run(["incidents", "\(number)", "--json"], .json)
      try run(["incidents", "\(number)", "--html", "\(qmail.path)/incident.html"])
      check(.html, try qmail.bytes("\(qmail.path)/incident.html"), "page \(number)")
    }
    let kept = Sink.objects(try run(["quarantined", "--json", "--headers"], .json)).objects
    #expect(kept.count >= 100)
    for words in [[], ["--headers"], ["--count-by", "sender"], ["--count-by", "subject"]] {
      try run(["quarantined"] + words)
    }
    let keptIDs = kept.prefix(40).compactMap { $0["id"] as? Int }.map { String($0) }
    try run(["show"] + keptIDs)
    try run(["show", "--json"] + keptIDs, .json)
    try run(["release", "--dry-run"] + keptIDs)
    try run(["quarantined", "--export", "mbox:\(qmail.path)/mbox"])
    try run(["quarantined", "--export", "maildir:\(qmail.path)/maildir"])
    let originals = Set(
      kept.compactMap { $0["id"] as? Int }.compactMap { qmail.messages[String($0)] })
    #expect(Set(Self.messages(inMbox: try qmail.bytes("\(qmail.path)/mbox"))) == originals)
    let names = try Descriptor.open("\(qmail.path)/maildir/new", .directory).names()
    #expect(Set(try names.map { try qmail.bytes("\(qmail.path)/maildir/new/\($0)") }) == originals)
    #expect(names.allSatisfy { $0.allSatisfy { $0.isASCII } && !$0.hasPrefix("-") })

    try run(["replay", "--history", "1d"])
    try run(["replay", "--history", "1d", "--json"], .json)
    for name in try Descriptor.open("\(qmail.state)/history", .directory).names() {
      let lines = try LineSource("\(qmail.state)/history/\(name)")
      var trace: [UInt8] = []
      while let line = lines.next({ line in line.indices.map { line[$0] } }) {
        trace += line + [10]
      }
      check(.json, trace, "history")
    }

    // What is typed comes back in error messages.
    let typed = ["newline", "colour", "C1 in UTF-8", "right to left", "option"]
    for injection in Injection.all where typed.contains(injection.name) {
      let text = injection.text
      try run(["block", "--reason=\(text)", "bob@\(ids[0]).example"])
      for words in [["block"], ["unblock"], ["explain"], ["replay"], ["incidents"]] {
        try run(words + places + ["--", text], places: [])
      }
      for option in ["--sender=/(", "--header=", "--client=", "--size="] {
        try run(["list", "\(option)\(text)"])
      }
      try run([text])
      try Replacement.write(
        Array("\(text): 1\nmode: \(text)\n".utf8), to: "\(qmail.path)/bad.yaml", mode: 0o644)
      try run(["check-policy", "\(qmail.path)/bad.yaml"], places: [])
      try run(["stat", "--qmail=/nowhere/\(text)"], places: [])
    }
    try run(["blocks", "--past"])
    try run(["blocks", "--past", "--json"], .json)
    let control = try qmail.bytes(qmail.badmailfrom)
    #expect(control.starts(with: Array("# mine\nspam@elsewhere.example".utf8)))
    #expect(control.allSatisfy { $0 == 10 || (32...126).contains($0) })
    #expect(checked > 300)
  }

  /// Takes the quoting of `mboxrd` off.
  private static func messages(inMbox bytes: [UInt8]) -> [[UInt8]] {
    let from = Array("From ".utf8)
    var messages: [[UInt8]] = []
    for line in bytes.split(separator: 10, omittingEmptySubsequences: false) {
      if line.starts(with: from) {
        messages.append([])
        continue
      }
      guard !messages.isEmpty else { continue }
      let isQuoted = line.first == 62 && line.drop { $0 == 62 }.starts(with: from)
      messages[messages.count - 1] += (isQuoted ? line.dropFirst() : line) + [10]
    }
    // The empty line after each, and what split() left after the file's last line end.
    return messages.enumerated().map {
      Array($0.element.dropLast($0.offset == messages.count - 1 ? 2 : 1))
    }
  }

  private static let noon = Timestamp(seconds: 1_795_000_000)

  private static func storm(_ incident: Int, _ injection: Injection) -> Storm {
    Storm(
      incident: incident, kind: .relaySender, began: noon, lastSeen: noon,
      offenders: [
        .sender(injection.address), .user(injection.text), .client(injection.text),
        .senderDomain(Domain(bytes: injection.bytes)),
      ],
      victims: [injection.text, "b\(injection.text)"], samples: [1],
      reason: "seen from \(injection.text)")
  }
}

extension BadmailfromDialect {
  /// How such a server takes a line that is an entry, sender lower-cased or not.
  fileprivate func blocks(_ entry: [UInt8], _ sender: Address) -> Bool {
    let bytes = sender.lowercased.bytes
    let text = String(decoding: bytes, as: UTF8.self)
    let line = String(decoding: entry, as: UTF8.self)
    let host = bytes.lastIndex(of: UInt8(ascii: "@")).map { Array(bytes[$0...]) }
    switch self {
    case .regex:
      var compiled = regex_t()
      guard regcomp(&compiled, line, REG_EXTENDED | REG_ICASE) == 0 else { return true }
      defer { regfree(&compiled) }
      return regexec(&compiled, text, 0, nil, 0) == 0
    case .indimail, .sqmail:
      return fnmatch(line, text, 0) == 0 || Array(bytes) == entry || host == entry
    case .stock, .ldap, .qsmtp: return Array(bytes) == entry || host == entry
    }
  }
}
