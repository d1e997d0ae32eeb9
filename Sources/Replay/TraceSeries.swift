import Mail
import Storms

/// Traces read as one: a single one, or the hours of a history.
public final class TraceSeries {
  /// Of the trace that is being read.
  public private(set) var path: String
  public private(set) var host = ""
  /// What could not be read, a line each. A history's hour that was cut off is none: the daemon was killed, or writes it now.
  public private(set) var damage: [String] = []
  private var paths: ArraySlice<String>
  private let isHistory: Bool
  private var trace: TraceFile?

  public init(_ paths: [String], isHistory: Bool = false) {
    self.paths = paths[...]
    path = paths.first ?? ""
    self.isHistory = isHistory
  }

  /// Opens the first trace; nil where there is none.
  public func header() throws -> TraceReader.Header? {
    try open()
    return trace?.header
  }

  /// The next observation, nil at the end of the last trace.
  /// - Parameter onNext: called with its header when another trace begins.
  public func next(_ onNext: (TraceReader.Header) -> Void) throws -> Observation? {
    while let reading = trace {
      if let observation = try reading.next() { return observation }
      if let why = reading.damage, !(isHistory && reading.isCutOff) {
        damage.append("\(reading.path): \(why)")
      }
      trace = nil
      if let header = try header() { onNext(header) }
    }
    return nil
  }

  private func open() throws {
    while trace == nil, let path = paths.popFirst() {
      do {
        let opened = try TraceFile(path)
        trace = opened
        self.path = opened.path
        host = opened.header.host
      } catch let failure as TraceFile.Failure where isHistory && failure.isEmpty {
        // Begun, and killed before its first line was on the disk.
        continue
      }
    }
  }
}
