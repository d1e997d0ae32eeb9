import Glibc

@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
  _ count: UnsafeMutablePointer<Int32>,
  _ arguments: UnsafeMutablePointer<UnsafeMutableRawPointer>,
  _ body: @convention(c) (UnsafePointer<UInt8>, Int) -> Int32
) -> Int32

/// PARSER names the parser; with SEEDS its seeds are written to that directory, and that is all. Arguments are libFuzzer's.
private let parser: Parser = {
  guard let name = getenv("PARSER"), let parser = Parser(rawValue: String(cString: name)) else {
    print(Parser.allCases.map(\.rawValue).joined(separator: " "))
    exit(64)
  }
  return parser
}()

/// SwiftPM calls an executable's `main` so, and libFuzzer's own is not linked in then.
@_cdecl("fuzz_main")
func begin(_ count: Int32, _ arguments: UnsafeMutableRawPointer) -> Int32 {
  _ = parser
  if let folder = getenv("SEEDS").map({ String(cString: $0) }) {
    for (number, seed) in parser.seeds.enumerated() {
      guard let file = fopen("\(folder)/seed\(number)", "w") else { return 73 }
      fwrite(seed, 1, seed.count, file)
      fclose(file)
    }
    return 0
  }
  var count = count
  var arguments = arguments
  return runDriver(&count, &arguments) { start, count in
    parser.read(Array(UnsafeBufferPointer(start: start, count: count)))
    return 0
  }
}
