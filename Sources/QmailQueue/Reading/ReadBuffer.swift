import Files
import Glibc

/// A buffer that is used for one file after another; it grows to what a file needs, within a limit, until ``giveBack()``.
struct ReadBuffer: ~Copyable {
  private var storage: UnsafeMutableRawBufferPointer
  private(set) var count = 0
  /// Files that have been read.
  var spent: SpentDescriptors

  /// - Parameter spent: how many files that have been read may stay open for a while, where many are read in a row.
  init(capacity: Int = 16 * 1024, spent: Int = 1) {
    storage = .allocate(byteCount: capacity, alignment: 16)
    self.spent = SpentDescriptors(most: spent)
  }

  deinit { storage.deallocate() }

  /// The bytes read last. Valid until the next reading.
  var filled: UnsafeBufferPointer<UInt8> {
    UnsafeBufferPointer(rebasing: storage.bindMemory(to: UInt8.self)[..<count])
  }

  var capacity: Int { storage.count }

  /// Lets go of the room that a large file needed, and of what was read: for a buffer that lives long.
  mutating func giveBack() {
    guard storage.count > 1 << 20 else { return }
    storage.deallocate()
    storage = .allocate(byteCount: 16 * 1024, alignment: 16)
    count = 0
  }

  /// Reads `file` from `offset` until there are `limit` bytes or the end.
  /// - Returns: false with errno set when the kernel failed.
  mutating func fill(from file: Int32, limit: Int, offset: Int64 = 0) -> Bool {
    count = 0
    return extend(from: file, limit: limit, offset: offset)
  }

  /// Reads on behind the bytes already there, until there are `limit` in all or the file ends. `offset` is where byte 0 stands in the file.
  mutating func extend(from file: Int32, limit: Int, offset: Int64) -> Bool {
    while count < limit {
      if count == storage.count { grow() }
      let room = min(limit, storage.count) - count
      let n = pread(
        file, storage.baseAddress.map { $0 + count }, room, off_t(offset) + off_t(count))
      if n < 0 {
        if errno == EINTR { continue }
        return false
      }
      count += n
      // A short read of a regular file is its end.
      if n < room { return true }
    }
    return true
  }

  private mutating func grow() {
    let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: storage.count * 4, alignment: 16)
    larger.copyMemory(from: UnsafeRawBufferPointer(storage))
    storage.deallocate()
    storage = larger
  }
}
