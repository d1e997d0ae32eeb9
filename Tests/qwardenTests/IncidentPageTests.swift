import Fixtures
import Foundation
import Ledger
import Mail
import Storms
import Testing

@testable import qwarden

/// Reads HTML the strict way: every tag closed in its order, every attribute quoted, every `&` a reference we write.
struct StrictReader {
  var complaints: [String] = []
  var elements: [String: Int] = [:]
  var attributes: [(name: String, value: String)] = []
  /// What a reader sees, without markup.
  var text = ""

  init(_ html: String) {
    var open: [String] = []
    var rest = html[...]
    while let start = rest.firstIndex(where: { $0 == "<" }) {
      take(rest[..<start])
      guard let end = rest[start...].firstIndex(of: ">") else {
        complaints.append("a tag without end: \(rest[start...].prefix(40))")
        return
      }
      let tag = rest[rest.index(after: start)..<end]
      rest = rest[rest.index(after: end)...]
      if tag.lowercased() == "!doctype html" { continue }
      if tag.hasPrefix("/") {
        if open.popLast() != String(tag.dropFirst()) {
          complaints.append("</\(tag)> closes another")
        }
        continue
      }
      let isClosed = tag.hasSuffix("/")
      let body = isClosed ? tag.dropLast() : tag
      let name = String(body.prefix { $0.isLetter || $0.isNumber })
      elements[name, default: 0] += 1
      var left = body.dropFirst(name.count)
      while let match = try? #/\s+([a-z-]+|viewBox)="([^"<>]*)"/#.prefixMatch(in: left) {
        attributes.append((String(match.1), String(match.2)))
        take(match.2, isText: false)
        left = left[match.range.upperBound...]
      }
      if !left.trimmingCharacters(in: .whitespaces).isEmpty || name.isEmpty {
        complaints.append("no tag of ours: <\(tag)>")
      }
      if !isClosed, !["meta", "br"].contains(name) { open.append(name) }
      if name == "style", let close = rest.range(of: "</style>") {
        rest = rest[close.lowerBound...]
      }
    }
    take(rest)
    if !open.isEmpty { complaints.append("never closed: \(open)") }
  }

  private mutating func take(_ piece: Substring, isText: Bool = true) {
    let known = [
      "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": "\"", "&#39;": "'", "&thinsp;": " ",
    ]
    var plain = String(piece)
    for match in piece.matches(of: #/&[^;\s]*;?/#) where known[String(match.0)] == nil {
      complaints.append("an ampersand by itself: \(match.0)")
    }
    if piece.contains(">") { complaints.append("a stray >: \(piece.prefix(60))") }
    for (reference, sign) in known where reference != "&amp;" {
      plain = plain.replacingOccurrences(of: reference, with: sign)
    }
    if isText { text += plain.replacingOccurrences(of: "&amp;", with: "&") }
  }
}

@Suite struct IncidentPageTests {
  /// Names in the manner of those who try it.
  private static let nasty = [
    "<script>alert(1)</script>@x.example", "\"onload=alert(1) x=\"@x.example",
    "'><img src=x onerror=alert(1)>@x", "a&amp;b@x", "]]>--><!--@x", "\u{202E}gro.elpmaxe@x",
    "\u{0}\u{1B}[31m@x", "</style></title>@x",
  ]

  private func dossier(_ kind: StormKind = .relaySender, hostile: Bool = true) throws
    -> IncidentDossier
  {
    let folder = TemporaryFolder()
    let ledger = try Ledger("\(folder.path)/ledger.sqlite")
    let began = Timestamp(seconds: 1_796_000_000)
    func after(_ seconds: Int) -> Timestamp { began + .seconds(seconds) }
    var evidence = Evidence()
    evidence.messages = 480
    evidence.recipients = 960
    evidence.failed = 300
    evidence.delivered = 100
    evidence.recipientDomains = 700
    evidence.senders = 1
    evidence.failuresProven = true
    let name = hostile ? Self.nasty[0] : "alice@mx.test"
    let storm = Storm(
      incident: 1, kind: kind, began: began, lastSeen: after(120), ended: after(900),
      offenders: [
        .sender(Address(name)), .user(hostile ? Self.nasty[1] : "alice"), .client("198.18.66.6"),
      ],
      victims: hostile ? Self.nasty : ["victim.example"], evidence: evidence,
      samples: [11, 12, 13],
      reason:
        "One sender floods other hosts (sender \(Escaping.terminal(name))): 480 messages & more")
    try ledger.record(storm)
    try ledger.record(
      (-6...80).map { number in
        IncidentPoint(
          time: after(number * 2), waiting: 20 + max(0, min(number * 4, 200)),
          leaving: max(0, number - 20),
          messages: max(0, min(480, number * 8)), failed: max(0, min(300, number * 5)),
          delivered: max(0, number), setAside: max(0, number - 20))
      }, incident: 1, began: began)
    try ledger.record([
      ActionRecord(incident: 1, action: "alert", outcome: .done, why: "", at: after(3)),
      ActionRecord(
        incident: 1, action: "block", value: Array(name.utf8), outcome: .done,
        why: hostile ? Self.nasty[2] : "", at: after(4)),
      ActionRecord(
        incident: 1, action: "quarantine", outcome: .held, why: "the <mode> is \"observe\"",
        at: after(5), times: 39),
      ActionRecord(incident: nil, action: "block", outcome: .done, why: "of another", at: after(5)),
    ])
    return try #require(try IncidentDossier(1, ledger, DetectorSettings()))
  }

  private func read(_ dossier: IncidentDossier) -> StrictReader {
    StrictReader(
      IncidentPage(
        dossier: dossier, host: "mx.test", version: "1", now: Timestamp(seconds: 1_796_001_000)
      ).html)
  }

  @Test(
    "hostile names are text and nothing else, in every kind of storm", arguments: StormKind.allCases
  )
  func hostile(_ kind: StormKind) throws {
    let page = read(try dossier(kind))
    #expect(page.complaints == [])
    for name in ["script", "img", "iframe", "link", "object", "a", "base", "form"] {
      #expect(page.elements[name] == nil, "<\(name)>")
    }
    #expect(
      !page.attributes.contains { $0.name.hasPrefix("on") || $0.name == "src" || $0.name == "href" }
    )
    #expect(page.text.contains("<script>alert(1)</script>@x.example"))
    #expect(page.text.contains("\\u{202E}gro.elpmaxe@x"))
    #expect(
      !page.text.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" || $0.value == 0x202E })
  }

  @Test("the page loads nothing and runs nothing")
  func selfContained() throws {
    let html = IncidentPage(
      dossier: try dossier(), host: "", version: "1", now: Timestamp(seconds: 1)
    ).html
    for word in ["http://", "https://", "url(", "@import", "<script"] {
      #expect(!html.contains(word), "\(word)")
    }
    #expect(html.contains("default-src 'none'"))
    #expect(html.contains("prefers-color-scheme:dark") && html.contains("@media print"))
  }

  @Test("the timeline has its plots, its marks and no coordinate outside the picture")
  func timeline() throws {
    let page = read(try dossier(hostile: false))
    #expect(page.elements["svg"] == 2)
    #expect(page.attributes.count { $0.value == "mark-dot" } == 1)
    #expect(page.attributes.count { $0.value == "failed" } > 20)
    for (name, value) in page.attributes
    where ["x", "y", "cx", "cy", "width", "height"].contains(name) {
      let number = try #require(Double(value), "\(name)=\(value)")
      #expect((0...960).contains(number), "\(name)=\(value)")
    }
    #expect(!page.attributes.contains { $0.value.contains("nan") || $0.value.contains("inf") })
  }

  @Test("an incident without points, and one of a single moment, have a page without a picture")
  func noTimeline() throws {
    for count in 0...1 {
      var bare = try dossier(hostile: false)
      bare.points = Array(bare.points.prefix(count))
      let page = read(bare)
      #expect(page.complaints == [])
      #expect(page.text.contains("There is no timeline"))
    }
  }

  @Test("text, JSON and page name the same actions, undoing and evidence")
  func inStep() throws {
    var dossier = try dossier(hostile: false)
    dossier.states = [.gone: 39]
    dossier.actions[2].outcome = .done
    let text = dossier.text.joined(separator: "\n")
    let page = read(dossier).text
    let json = try #require(
      try JSONSerialization.jsonObject(with: Data(dossier.json.text.utf8)) as? [String: Any])
    let actions = try #require(json["actions"] as? [[String: Any]])
    #expect(actions.count == 3)
    for place in [text, page, actions[2]["undo"] as? String ?? ""] {
      #expect(place.contains("qwarden release --incident 1"))
    }
    for measure in dossier.evidence {
      #expect(text.contains(measure.value) && page.contains(measure.value), "\(measure)")
    }
    #expect((json["evidence"] as? [Any])?.count == dossier.evidence.count)
    #expect((json["timeline"] as? [Any])?.count == dossier.points.count)
    #expect(json["set_aside"] as? Int == 39)
  }

  @Test("a storm without offenders and victims is listed with what happens")
  func nobody() {
    var storm = Storm(
      incident: 1, kind: .stall, began: Timestamp(seconds: 1), lastSeen: Timestamp(seconds: 2),
      offenders: [], reason: "qmail-send does not run since 1970-01-01T00:00:01Z")
    #expect(storm.who == "qmail-send does not run")
    storm.victims = ["mx.test"]
    #expect(storm.who == "to mx.test")
  }

  @Test(
    "of the sentence of a storm, actions and blocks are told with the figures alone",
    .enabled(if: BuiltProgram.path != nil, "the program is not built"))
  func figures() throws {
    let trace = #filePath.replacing("qwardenTests/IncidentPageTests", with: "StormsTests/Samples/x")
      .replacing("x.swift", with: "relay_user.jsonl.gz")
    let began = try #require(
      try BuiltProgram.run(["replay", "--json", trace]).output.split(separator: "\n").first)
    let line = try #require(
      try JSONSerialization.jsonObject(with: Data(began.utf8)) as? [String: Any])
    let reason = try #require(line["reason"] as? String)
    #expect(
      IncidentDossier.short(reason).wholeMatch(
        of: #/[0-9]+ messages, [0-9]+ recipients in .* deferred, [0-9]+ delivered/#) != nil)
    #expect(IncidentDossier.short("password stolen") == "password stolen")
  }
}
