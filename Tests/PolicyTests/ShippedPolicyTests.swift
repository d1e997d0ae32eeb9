import Files
import Testing

@testable import Policy

@Suite("The policy as shipped")
struct ShippedPolicyTests {
  let path = "\(repository)/config/policy.yaml"

  @Test("it says what qwarden does without it")
  func equalsDefaults() throws {
    #expect(try PolicyFile.load(path) == Policy())
  }

  @Test("mode: observe stands on a line of its own")
  func observes() throws {
    let text = String(decoding: try Descriptor.open(path).readAll(limit: 1 << 20), as: UTF8.self)
    #expect(text.split(separator: "\n").count { $0 == "mode: observe" } == 1)
    #expect(!text.contains("\t"))
  }

  @Test("it shows every setting there is, in the reader's order")
  func isComplete() throws {
    let text = String(decoding: try Descriptor.open(path).readAll(limit: 1 << 20), as: UTF8.self)
    var shown: [String] = []
    var section = ""
    for line in text.split(separator: "\n") where line.contains(":") {
      let bare = line.drop { $0 == " " }
      guard !bare.hasPrefix("#"), let key = bare.split(separator: ":").first else { continue }
      if line.first != " " { section = bare.hasSuffix(":") ? "\(key)." : "" }
      if line.first == " " || section.isEmpty { shown.append(section + key) }
    }
    #expect(shown == PolicyField.all.map(\.name))
  }

  @Test("an administrator turns it on by changing one word")
  func enforces() throws {
    let text = String(decoding: try Descriptor.open(path).readAll(limit: 1 << 20), as: UTF8.self)
    var expected = Policy()
    expected.mode = .enforce
    let changed = text.replacing("\nmode: observe\n", with: "\nmode: enforce\n")
    #expect(outcome(changed).policy == expected)
  }
}
