import Files
import Glibc
import Mail

/// Where the daemon keeps what it saw: `STATE/history`, a trace an hour, named by when each begins.
public struct HistoryFolder: Sendable {
  /// One hour's trace, or what was recorded of it before a restart.
  public struct Segment: Sendable, Hashable {
    public var name: String
    public var size: Int64
    /// When it was last written to.
    public var written: Timestamp
  }

  public let path: String
  private static let suffix = ".jsonl.gz"

  public init(state: String) { path = "\(state)/history" }

  /// Oldest first; empty when there is no such directory.
  public func segments() throws(FileError) -> [Segment] {
    let folder: Descriptor
    do throws(FileError) { folder = try Descriptor.open(path, .directory) } catch {
      if error.isMissing { return [] }
      throw error
    }
    var segments: [Segment] = []
    for name in try folder.names() where name.hasSuffix(Self.suffix) {
      // One that is removed meanwhile is no segment any more.
      guard let status = try? FileStatus.of("\(path)/\(name)"), status.isRegular else { continue }
      segments.append(Segment(name: name, size: status.size, written: status.modified))
    }
    return segments.sorted { $0.name < $1.name }
  }

  /// Those that hold something of this moment or later, oldest first, as paths.
  public func paths(since begin: Timestamp) throws(FileError) -> [String] {
    try segments().filter { $0.written >= begin }.map { "\(path)/\($0.name)" }
  }

  /// `20261124T220000Z.jsonl.gz`; of several that begin in one second, the later ones have a letter and sort behind it.
  private static func name(at time: Timestamp, number: Int) -> String {
    let stamp = time.iso8601.filter { $0 != "-" && $0 != ":" }
    let letter = number == 0 ? "" : String(UnicodeScalar(UInt8(0x60 + number)))
    return "\(stamp)\(letter)\(suffix)"
  }

  /// Makes a segment that begins now.
  public func create(at time: Timestamp) throws(FileError) -> LineSink {
    try Folder.make(path, handed: true)
    var number = 0
    while true {
      do throws(FileError) {
        return try LineSink(
          creating: "\(path)/\(Self.name(at: time, number: number))", compressed: true)
      } catch {
        guard error.code == EEXIST, number < 26 else { throw error }
        number += 1
      }
    }
  }

  /// Removes a segment for good.
  public func remove(_ segment: Segment) throws(FileError) {
    try Descriptor.open(path, .directory).unlink(segment.name)
  }
}
