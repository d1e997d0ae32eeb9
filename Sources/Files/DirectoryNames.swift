import CLinux
import Glibc

/// One name in a directory, while it is being listed. The bytes live only during the call that hands them out.
public struct DirectoryItem {
  public let name: UnsafeRawBufferPointer
  /// The file's inode number as the directory holds it.
  public let inode: UInt64
  let type: UInt8

  public var isDirectory: Bool { type == UInt8(DT_DIR) }
  public var isRegular: Bool { type == UInt8(DT_REG) }
  /// Some filesystems do not keep the type in the directory: then only stat(2) tells.
  public var isUntyped: Bool { type == UInt8(DT_UNKNOWN) }
}

extension Descriptor {
  /// Calls `body` with the bytes of each name in this directory, `.` and `..` left out, and whether the kernel says that it is a
  /// directory. Names are not copied: the buffer lives only during the call. Reads from the start each time.
  ///
  /// Names come and go while this runs; a name given may be gone, and one that came meanwhile may be missing.
  public func forEachName(
    _ body: (_ name: UnsafeRawBufferPointer, _ isDirectory: Bool) -> Void
  ) throws(FileError) {
    try forEachItem { body($0.name, $0.isDirectory) }
  }

  /// As ``forEachName(_:)``, with type and inode.
  public func forEachItem(_ body: (DirectoryItem) -> Void) throws(FileError) {
    lseek(number, 0, SEEK_SET)
    // Just under the size from which malloc asks the kernel for fresh pages each time.
    let size = 120 * 1024
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 8)
    defer { buffer.deallocate() }
    while true {
      let filled = clinux_getdents64(number, buffer.baseAddress, size)
      if filled < 0 {
        if errno == EINTR { continue }
        throw FileError("list", path)
      }
      if filled == 0 { return }
      var at = 0
      while at < filled {
        let length = Int(
          buffer.loadUnaligned(fromByteOffset: at + Int(CLINUX_DIRENT_RECLEN), as: UInt16.self))
        let start = at + Int(CLINUX_DIRENT_NAME)
        var end = start
        while end < at + length, buffer[end] != 0 { end += 1 }
        let name = UnsafeRawBufferPointer(rebasing: buffer[start..<end])
        let isDots =
          name.count <= 2 && name.allSatisfy { $0 == UInt8(ascii: ".") }
        if !isDots {
          body(
            DirectoryItem(
              name: name, inode: buffer.loadUnaligned(fromByteOffset: at, as: UInt64.self),
              type: buffer[at + Int(CLINUX_DIRENT_TYPE)]))
        }
        at += length
      }
    }
  }

  /// All names in this directory, as text (for small directories).
  public func names() throws(FileError) -> [String] {
    var names: [String] = []
    try forEachName { name, _ in names.append(String(decoding: name, as: UTF8.self)) }
    return names
  }
}

extension UnsafeRawBufferPointer {
  /// The queue number that these bytes spell, or nil: only digits, no leading zero, within 64 bits.
  public var queueNumber: UInt64? {
    guard count > 0, count <= 20, self[0] != UInt8(ascii: "0") || count == 1 else { return nil }
    var value: UInt64 = 0
    for byte in self {
      guard byte >= 48, byte <= 57 else { return nil }
      let (product, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, carry) = product.addingReportingOverflow(UInt64(byte - 48))
      if overflow || carry { return nil }
      value = sum
    }
    return value
  }
}
