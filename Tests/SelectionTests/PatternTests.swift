import Selection
import Testing

@Suite struct PatternTests {
  @Test(
    "an expression matches what its syntax says",
    arguments: [
      ("a.c", "xabcx", true), ("^abc$", "abc", true), ("^abc$", "abcd", false),
      ("[a-c]+x", "abcabcx", true), ("[^a-c]x", "ax", false), ("a|b|c", "zzc", true),
      ("(ab)+$", "xababab", true), ("(ab)+$", "xababa", false), ("a{2,3}b", "ab", false),
      ("^a{2,3}b$", "aaaab", false), ("^a{2,3}b$", "aaab", true), ("a{2}", "aa", true),
      ("\\d+@\\w+", "12@x", true), ("\\.", "a", false), ("\\x41", "A", true),
      ("^$", "", true), ("^$", "x", false), ("x*", "", true), ("(a|)b", "b", true),
      ("a{x", "a{x", true), ("[]a]", "]", true), ("(^a|b$)", "ccb", true), ("a$b", "ab", false),
      ("[a-]", "-", true), ("(?:ab)c", "abc", true),
    ])
  func syntax(_ pattern: String, _ text: String, _ expected: Bool) throws {
    let expression = try RegularExpression(pattern)
    #expect(expression.matches(text.utf8) == expected, "\(pattern) on \(text)")
  }

  @Test(
    "a pattern that cannot be read says where and why",
    arguments: ["(", ")", "[a", "*a", "a\\", "\\x4", "[z-a]", "a{9999}", "\\b", "[[:alpha:]]"])
  func refusals(_ pattern: String) {
    #expect(throws: PatternError.self) { try RegularExpression(pattern) }
  }

  @Test("a pattern made to backtrack takes time linear in the text")
  func linearTime() throws {
    let text = [UInt8](repeating: UInt8(ascii: "a"), count: 300_000) + [UInt8(ascii: "b")]
    #expect(try RegularExpression("(a+)+$").matches(text) == false)
    #expect(try RegularExpression("(a|aa)*c").matches(text) == false)
    #expect(try RegularExpression("(.*a){10}b$").matches(text))
    #expect(try Pattern("*a*a*a*a*c*").matchesWhole(text) == false)
    #expect(try Pattern(String(repeating: "a", count: 900) + "b").matchesWithin(text))
  }

  @Test("bytes that are not UTF-8 are matched as bytes")
  func anyBytes() throws {
    let bytes: [UInt8] = [0xFF, 0x00, 0x41, 0xC3, 0x28]
    #expect(try RegularExpression("\\xFF.A").matches(bytes))
    #expect(try Pattern("*A*").matchesWhole(bytes))
    #expect(try Pattern("a").matchesWithin(bytes))
  }

  @Test("literals ignore case and cover whole values, globs too, expressions as they say")
  func forms() throws {
    let sender = Array("Alice@MX.test".utf8)
    #expect(try Pattern("alice@mx.test").matchesWhole(sender))
    #expect(try !Pattern("alice").matchesWhole(sender))
    #expect(try Pattern("alice").matchesWithin(sender))
    #expect(try Pattern("*@mx.test").matchesWhole(sender))
    #expect(try !Pattern("*@mx?test").matchesWhole(sender))
    #expect(try Pattern("/^Alice/").matchesWhole(sender))
    #expect(try !Pattern("/^alice/").matchesWhole(sender))
    #expect(try Pattern("/^alice/i").matchesWhole(sender))
  }

  @Test("random patterns neither crash nor hang")
  func randomPatterns() {
    var state: UInt64 = 42
    func random(_ n: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % n
    }
    let alphabet = Array("ab.*+?()[]{}|^$\\0,2-x")
    let text = Array("abababaab\u{0}xx22".utf8)
    var usable = 0
    for _ in 0..<5000 {
      let pattern = String((0..<random(12)).map { _ in alphabet[random(alphabet.count)] })
      if let expression = try? RegularExpression(pattern) {
        usable += 1
        _ = expression.matches(text)
      }
    }
    #expect(usable > 100)
  }

  @Test("an expression with too many deterministic states finds the same, whatever the pieces")
  func manyStates() throws {
    var state: UInt64 = 7
    func random(_ n: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % n
    }
    // 2^21 deterministic states; small enough for tables, then too large for them.
    for (pattern, back) in [("b(x|y)?(a|b|x){20}c", 21), ("(xx?)?b[abx]{700}c$", 701)] {
      let expression = try Pattern("/\(pattern)/")
      for isThere in [true, false, true] {
        var text = (0..<40_000).map { _ in UInt8(ascii: random(2) == 0 ? "a" : "b") }
        text[text.count - back] = UInt8(ascii: isThere ? "b" : "a")
        // The optional byte would let the one before do.
        text[text.count - back - 1] = UInt8(ascii: "a")
        text.append(UInt8(ascii: "c"))
        #expect(expression.matchesWithin(text) == isThere, "\(pattern)")
        let search = expression.search()
        var at = 0
        while at < text.count {
          let end = min(text.count, at + 1 + random(5000))
          search.take(text.span.extracting(at..<end))
          at = end
        }
        search.finish()
        #expect(search.isFound == isThere, "\(pattern) in pieces")
      }
    }
  }

  @Test("a size bound is a sign, a number and a unit, and no number is too large to be refused")
  func sizes() throws {
    #expect(try #require(SizeCondition(">100k")).holds(for: 100_001))
    #expect(try !#require(SizeCondition(">100k")).holds(for: 100_000))
    #expect(try #require(SizeCondition("<=2M")).holds(for: 2_000_000))
    for text in ["", "100k", ">", ">k", ">-1", ">1099511627775G", ">99999999999999999999", "<1T"] {
      #expect(SizeCondition(text) == nil, "\(text)")
    }
  }
}
