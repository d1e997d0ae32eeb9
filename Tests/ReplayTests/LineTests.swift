import Files
import Fixtures
import Mail
import Replay
import Testing

@Suite("Lines of plain and gzipped files")
struct LineTests {
  private let place = TemporaryFolder()
  private var folder: String { place.path }

  private func write(_ lines: [String], _ name: String) throws -> String {
    let path = "\(folder)/\(name)"
    let sink = try LineSink(creating: path, compressed: name.hasSuffix(".gz"))
    for line in lines { try sink.write(Array("\(line)\n".utf8)) }
    try sink.close()
    return path
  }

  private func read(_ source: LineSource) -> [String] {
    var lines: [String] = []
    while let line = source.next({ String(decoding: $0.copied(0..<$0.count), as: UTF8.self) }) {
      lines.append(line)
    }
    return lines
  }

  @Test(
    "what was written is read back, whatever the lengths of the lines", arguments: ["a", "a.gz"])
  func roundTrip(name: String) throws {
    let lines = (0..<60).map { String(repeating: "x", count: $0 * $0 * 70 % 300_000) }
    let source = try LineSource(try write(lines, name))
    #expect(read(source) == lines)
    #expect(source.line == 60 && source.damage == nil)
  }

  @Test("what was recorded is not overwritten")
  func existing() throws {
    let path = try write(["kept"], "a.gz")
    let error = #expect(throws: FileError.self) {
      _ = try LineSink(creating: path, compressed: true)
    }
    #expect(error?.description.contains("it is there already") == true)
    #expect(read(try LineSource(path)) == ["kept"])
  }

  @Test(
    "of a file that a kill cut off, all that was flushed is read, and that it was cut off is told")
  func cutOff() throws {
    let path = "\(folder)/a.gz"
    let sink = try LineSink(creating: path, compressed: true)
    for number in 0..<1000 { try sink.write(Array("line \(number)\n".utf8)) }
    try sink.flush()
    for number in 1000..<1010 { try sink.write(Array("line \(number)\n".utf8)) }
    // As the file stands now a kill would leave it.
    let left = try Descriptor.open(path).readAll(limit: 1 << 20)
    try sink.close()
    let torn = "\(folder)/torn.gz"
    try Replacement.write(left, to: torn, mode: 0o600)
    let source = try LineSource(torn)
    #expect(read(source).count == 1000)
    #expect(source.isCutOff && source.damage?.contains("cut off") == true)
  }

  @Test("a gzip file that is damaged in its middle is told of, with the line reached")
  func damaged() throws {
    let path = try write((0..<20_000).map { "line \($0 &* 7_919)" }, "a.gz")
    var bytes = try Descriptor.open(path).readAll(limit: 1 << 20)
    for place in (bytes.count / 2)..<(bytes.count / 2 + 40) { bytes[place] ^= 0x5A }
    try Replacement.write(bytes, to: path, mode: 0o600)
    let source = try LineSource(path)
    let lines = read(source)
    #expect(lines.count < 20_000)
    #expect(source.damage != nil && !source.isCutOff)
  }

  @Test(
    "what is no trace is refused with its place",
    arguments: [
      ("", "1: it is empty"), ("{}", "1: no trace"), ("[1]", "1: no trace"),
      ("{\"a\":", "1: bad JSON"),
      ("{\"event\":\"trace\",\"version\":2}", "1: trace version 2 is not known"),
      (
        "{\"event\":\"trace\",\"version\":1}\n\n{\"event\":\"log\",\"t\":1}",
        "3: \"line\" is missing"
      ),
      ("{\"event\":\"trace\",\"version\":1}\n7", "2: no JSON object"),
    ])
  func refused(text: String, says: String) throws {
    let path = "\(folder)/trace.jsonl"
    try Replacement.write(Array(text.utf8), to: path, mode: 0o600)
    let failure = #expect(throws: TraceFile.Failure.self) {
      let trace = try TraceFile(path)
      while try trace.next() != nil {}
    }
    #expect(failure?.description.hasPrefix("\(path):\(says)") == true, "\(failure as Any)")
  }
}
