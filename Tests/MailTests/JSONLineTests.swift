import Mail
import Testing

@Suite struct JSONLineTests {
  @Test(
    "no control character of a text gets out unescaped, those above 127 included, and all of it reads back"
  )
  func controls() throws {
    let scalars = (0...0x2FF).compactMap { Unicode.Scalar($0 as UInt32) } + ["€", "\u{202E}"]
    let text = String(String.UnicodeScalarView(scalars))
    var line = JSONLine()
    line.add("text", text)
    let shown = String(decoding: line.closed, as: UTF8.self)
    #expect(
      shown.unicodeScalars.allSatisfy { $0.value >= 0x20 && !(0x7F...0x9F).contains($0.value) })
    #expect(shown.contains("\\u009b") && shown.contains("é") && shown.contains("€"))
    let value = try JSONValue(line.closed[...])
    #expect(value["text"]?.string == text)
  }
}
