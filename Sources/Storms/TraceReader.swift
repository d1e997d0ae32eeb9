import Mail

/// Reads a recorded trace (JSON Lines, already decompressed) as observations.
public struct TraceReader: Sendable {
  /// Host and local domains of the first line.
  public struct Header: Sendable, Hashable {
    public var version = 1
    public var host = ""
    public var localDomains: Set<Domain> = []
    /// ISO 8601, UTC, as the recorder wrote it.
    public var started = ""
    public init() {}
  }

  /// A line that is no JSON object or lacks what its event needs.
  public struct Failure: Error, Sendable, Hashable, CustomStringConvertible {
    public var line: Int
    public var reason: String
    public var description: String { "line \(line): \(reason)" }
  }

  public let header: Header

  /// - Throws: when the first line is no trace header of a known version.
  public init(_ bytes: [UInt8]) throws(Failure) { header = Header() }

  /// The next observation, nil at the end. Events of unknown name are passed over.
  public mutating func next() throws(Failure) -> Observation? { nil }
}
