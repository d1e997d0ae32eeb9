import Glibc

/// The few things that an evaluation wants of the disk.
enum Disk {
  static func read(_ path: String) throws -> [UInt8] {
    guard let file = fopen(path, "r") else {
      throw Evaluate.Problem(description: "\(path): \(String(cString: strerror(errno)))")
    }
    defer { fclose(file) }
    return drain(file)
  }

  static func write(_ bytes: [UInt8], to path: String) throws {
    guard let file = fopen(path, "w") else {
      throw Evaluate.Problem(description: "\(path): \(String(cString: strerror(errno)))")
    }
    fwrite(bytes, 1, bytes.count, file)
    fclose(file)
  }

  static func gunzip(_ path: String) throws -> [UInt8] {
    guard access(path, R_OK) == 0, !path.contains("'"),
      let pipe = popen("gzip -dc '\(path)'", "r")
    else { throw Evaluate.Problem(description: "\(path) cannot be read") }
    defer { pclose(pipe) }
    return drain(pipe)
  }

  static func names(_ directory: String) throws -> [String] {
    guard let open = opendir(directory) else {
      throw Evaluate.Problem(description: "\(directory): \(String(cString: strerror(errno)))")
    }
    defer { closedir(open) }
    var names: [String] = []
    while let entry = readdir(open) {
      names.append(
        withUnsafePointer(to: &entry.pointee.d_name) {
          $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        })
    }
    return names
  }

  private static func drain(_ file: UnsafeMutablePointer<FILE>) -> [UInt8] {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while case let count = fread(&buffer, 1, buffer.count, file), count > 0 {
      bytes += buffer[..<count]
    }
    return bytes
  }

  /// A file that gzip writes.
  final class Gzip {
    private let pipe: UnsafeMutablePointer<FILE>

    init(_ path: String) throws {
      guard !path.contains("'"), let pipe = popen("gzip > '\(path)'", "w") else {
        throw Evaluate.Problem(description: "\(path) cannot be written")
      }
      self.pipe = pipe
    }

    func write(_ bytes: [UInt8]) { fwrite(bytes, 1, bytes.count, pipe) }
    deinit { pclose(pipe) }
  }
}
