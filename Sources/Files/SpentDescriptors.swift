import CLinux
import Glibc

/// Descriptors that are done with, closed some at a time: closing each by itself is 8 % of the time that reading many small files takes.
///
/// Those that stand side by side go in one close_range(2), which so can never meet one that is in use.
public struct SpentDescriptors: ~Copyable {
  private let most: Int
  private var numbers: [Int32] = []

  /// - Parameter most: so many are closed together; 1: each at once.
  public init(most: Int) { self.most = most }

  /// Takes over a descriptor of the caller's.
  public mutating func add(_ number: Int32) {
    if most <= 1 {
      Glibc.close(number)
      return
    }
    numbers.append(number)
    if numbers.count < most { return }
    Self.close(numbers)
    numbers.removeAll(keepingCapacity: true)
  }

  deinit { Self.close(numbers) }

  private static func close(_ numbers: [Int32]) {
    var rest = numbers.sorted()[...]
    while let first = rest.first {
      let run = rest.prefix(
        rest.indices.prefix { Int(rest[$0] - first) == $0 - rest.startIndex }.count)
      if clinux_close_range(first, first + Int32(run.count) - 1) != 0 {
        for number in run { Glibc.close(number) }
      }
      rest = rest.dropFirst(run.count)
    }
  }
}
