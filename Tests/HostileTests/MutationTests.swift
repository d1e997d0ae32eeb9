import Files
import Testing

/// Hostile input is normal input. A short run of what `make fuzz` does at length, the same on every machine and every day.
@Suite struct MutationTests {
  @Test(
    "any bytes can be read, and what is promised of the answer holds", arguments: Parser.allCases)
  func mutations(_ parser: Parser) {
    let seeds = parser.seeds
    #expect(!seeds.isEmpty)
    for seed in seeds { parser.read(seed) }
    var mutator = Mutator(seed: UInt64(parser.rawValue.utf8.reduce(7) { $0 &* 31 &+ Int($1) }))
    for _ in 0..<2_000 {
      let seed = seeds[mutator.below(seeds.count)]
      parser.read(
        mutator.mutated(seed, with: seeds[mutator.below(seeds.count)], limit: 160))
    }
  }

  @Test("what fuzzing found once", arguments: Parser.allCases)
  func found(_ parser: Parser) throws {
    guard
      let folder = try? Descriptor.open(
        "\(Parser.home)Tests/HostileTests/Found/\(parser.rawValue)", .directory)
    else { return }
    for name in try folder.names() {
      parser.read(try folder.open(name).readAll(limit: 1 << 20))
    }
  }

  @Test(
    "twice the bytes take about twice the time, however they are made", arguments: Parser.allCases)
  func nothingExplodes(_ parser: Parser) {
    // No clock: what is not linear would take minutes here and be cut off by the runner.
    for piece in [
      "(", "[", "{", "a", "\n", "<", "\"", "=?utf-8?B?", "a:\n ", "*", "T\0", "--b\n", "- ",
    ] {
      parser.read(Array(String(repeating: piece, count: 6_000 / piece.utf8.count).utf8))
    }
    for seed in parser.seeds where !seed.isEmpty {
      let row = (0..<(8_000 / seed.count + 1)).flatMap { _ in seed }
      parser.read(row)
    }
  }
}
