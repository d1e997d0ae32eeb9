import Files
import Glibc

/// policy.yaml into a ``Policy``.
public enum PolicyFile {
  /// The longest policy that is read, in bytes.
  static let limit = 1 << 20

  /// Reads and checks the file.
  /// - Throws: every error in it, not only the first; a missing or empty file is an error too.
  public static func load(_ path: String) throws(PolicyErrors) -> Policy {
    let bytes: [UInt8]
    do throws(FileError) {
      let file = try Descriptor.open(path, [.read, .following])
      guard try file.status().isRegular else { throw FileError("read", path, code: EISDIR) }
      bytes = try file.readAll(limit: limit)
    } catch {
      let message =
        switch error.code {
        case ENOENT, ENOTDIR: "there is no such file; one that says 'mode: observe' is enough"
        case EISDIR: "is not a file"
        case EFBIG: tooLong
        default: "cannot be read: \(String(cString: strerror(error.code)))"
        }
      throw PolicyErrors(
        [PolicyError(path: path, line: 0, column: 0, message: message)],
        exitCode: error.isPermission ? Exit.noPermission : Exit.badPolicy)
    }
    return try parse(bytes, path: path)
  }

  /// Checks policy text; `path` is only for the errors.
  public static func parse(_ bytes: [UInt8], path: String) throws(PolicyErrors) -> Policy {
    func refusal(_ message: String, at place: Place? = nil) -> PolicyErrors {
      PolicyErrors([
        PolicyError(
          path: path, line: place?.line ?? 0, column: place?.column ?? 0, message: message)
      ])
    }
    guard bytes.count <= limit else { throw refusal(tooLong) }
    // Windows editors put a byte-order mark in front.
    let hasMark = bytes.starts(with: [0xEF, 0xBB, 0xBF])
    guard let text = String(validating: bytes.dropFirst(hasMark ? 3 : 0), as: UTF8.self) else {
      throw refusal("is not UTF-8 from here on", at: Place(endOf: validPrefix(of: bytes)))
    }
    let references = PolicyText.references(in: text)
    guard references.isEmpty else {
      throw PolicyErrors(
        references.map {
          PolicyError(
            path: path, line: $0.place.line, column: $0.place.column,
            message: $0.isWildcard
              ? "no wildcards are taken here; a whole domain is '@example.com', in quotes"
              : "anchors and aliases (& and *) are not taken here; write the value out")
        })
    }
    let composed: PolicyText.Composed
    do throws(PolicyText.SyntaxError) { composed = try PolicyText.compose(text) } catch {
      throw refusal(error.message, at: error.place)
    }
    guard let root = composed.root else {
      throw refusal("is empty; the least it can say is: mode: observe")
    }
    var reader = PolicyReader(path: path, duplicates: composed.duplicates)
    let policy = reader.read(root)
    guard reader.errors.isEmpty else { throw PolicyErrors(reader.errors.sorted()) }
    return policy
  }

  private static var tooLong: String { "is longer than \(limit >> 20) MiB" }

  private static func validPrefix(of bytes: [UInt8]) -> String {
    var decoder = UTF8()
    var iterator = bytes.makeIterator()
    var text = ""
    while case .scalarValue(let scalar) = decoder.decode(&iterator) {
      text.unicodeScalars.append(scalar)
    }
    return text
  }
}
