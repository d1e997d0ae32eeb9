import Mail

/// Writes observations in the trace format, one line each (JSON Lines).
public struct TraceWriter: Sendable {
  public init(header: TraceReader.Header) {}

  /// The first line of the trace, with its newline.
  public var firstLine: [UInt8] { [] }

  /// The line for this observation with its newline; empty where the format has no event for it.
  public mutating func line(for observation: Observation) -> [UInt8] { [] }
}
