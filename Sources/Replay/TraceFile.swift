import Files
import Mail
import Storms

/// A recorded trace on disk, plain or gzipped, or on standard input, read as a stream.
public final class TraceFile {
  /// What makes it unreadable: file, line, and what to do.
  public struct Failure: Error, Sendable, Hashable, CustomStringConvertible {
    public var path: String
    public var line: Int
    public var reason: String
    /// There is not even a first line.
    var isEmpty = false
    public var description: String { "\(Escaping.terminal(path)):\(line): \(reason)" }
  }

  public let path: String
  public let header: TraceReader.Header
  /// Why it ended too early; what was read before is good.
  public var damage: String? { source.damage }
  /// The damage is that its end is missing.
  public var isCutOff: Bool { source.isCutOff }
  private let source: LineSource
  private var reader: TraceReader

  /// - Parameter path: `-` is standard input.
  /// - Throws: `FileError` or ``Failure``.
  public init(_ path: String) throws {
    source = try LineSource(path)
    self.path = source.path
    guard let first = source.next({ $0.copied(0..<$0.count) }) else {
      throw Failure(
        path: source.path, line: 1,
        reason: source.damage ?? "it is empty; 'qwarden record' writes traces", isEmpty: true)
    }
    do {
      reader = try TraceReader(firstLine: first)
    } catch {
      throw Failure(path: source.path, line: error.line, reason: error.reason)
    }
    header = reader.header
  }

  /// The next observation, nil at the end.
  public func next() throws(Failure) -> Observation? {
    do throws(TraceReader.Failure) {
      while let found = try source.next({ line throws(TraceReader.Failure) in
        try reader.observation(in: line)
      }) {
        if let found { return found }
      }
      return nil
    } catch {
      throw Failure(path: path, line: error.line, reason: error.reason)
    }
  }
}
