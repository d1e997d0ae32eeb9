import Testing

@testable import Systemd

@Suite struct CatalogTests {
  private static let path = "\(repository)/systemd/qwarden.catalog"

  /// The catalog's texts by message ID.
  private func texts() throws -> [String: String] {
    var texts: [String: String] = [:]
    var id = ""
    for line in try text(of: Self.path).split(separator: "\n", omittingEmptySubsequences: false) {
      if line.hasPrefix("-- ") {
        id = String(line.dropFirst(3))
        #expect(texts[id] == nil, "\(id) twice")
        texts[id] = ""
      } else if !id.isEmpty {
        texts[id]? += line + "\n"
      }
    }
    return texts
  }

  @Test("every message ID has a text with a subject, and every text a message ID")
  func agreement() throws {
    let texts = try texts()
    #expect(Set(texts.keys) == Set(MessageID.allCases.map(\.id)))
    for (id, text) in texts {
      #expect(text.contains("Subject: ") && text.contains("Defined-By: qwarden"), "\(id)")
      let body = text.split(separator: "\n\n", maxSplits: 1).last ?? ""
      #expect(body.count > 40, "\(id)")
    }
  }

  @Test("message IDs are distinct 128-bit numbers, and event names distinct words")
  func identifiers() {
    let ids = MessageID.allCases.map(\.id)
    #expect(Set(ids).count == ids.count)
    for id in ids {
      #expect(id.utf8.count == 32)
      #expect(id.utf8.allSatisfy { (48...57).contains($0) || (97...102).contains($0) }, "\(id)")
    }
    for event in MessageID.allCases.map(\.rawValue) {
      #expect(event.utf8.allSatisfy { (97...122).contains($0) || $0 == 45 }, "\(event)")
    }
  }

  @Test("the texts refer only to fields that entries carry")
  func fields() throws {
    let known = Set(JournalField.Name.allCases.map(\.rawValue) + ["QWARDEN_EVENT"])
    for (id, text) in try texts() {
      let parts = text.split(separator: "@", omittingEmptySubsequences: false)
      #expect(parts.count % 2 == 1, "\(id): an @ without its partner")
      for (index, part) in parts.enumerated() where index % 2 == 1 {
        #expect(known.contains(String(part)), "\(id): \(part)")
      }
    }
  }

  @Test(
    "systemd's own parser takes the catalog whole",
    .enabled(if: exists("/usr/bin/journalctl"), "no journalctl here"))
  func parser() throws {
    try withTemporaryFolder { root in
      for folder in ["usr/lib/systemd/catalog", "var/lib/systemd/catalog"] {
        try run("/bin/mkdir", "-p", "\(root)/\(folder)")
      }
      try write(
        text(of: Self.path), to: "\(root)/usr/lib/systemd/catalog/qwarden.catalog")
      let update = try run("/usr/bin/journalctl", "--update-catalog", "--root=\(root)")
      #expect(update.status == 0, "\(String(decoding: update.output, as: UTF8.self))")
      #expect(update.output.isEmpty, "\(String(decoding: update.output, as: UTF8.self))")
      let list = try run("/usr/bin/journalctl", "--list-catalog", "--root=\(root)")
      let lines = String(decoding: list.output, as: UTF8.self).split(separator: "\n")
      #expect(lines.count == MessageID.allCases.count)
      for id in MessageID.allCases.map(\.id) {
        #expect(lines.contains { $0.hasPrefix("\(id) qwarden: ") }, "\(id)")
      }
    }
  }
}
