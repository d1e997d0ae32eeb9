import Dispatch
import Synchronization

/// Shares work between two threads: reading small files is nearly all system calls, and two threads halve it; more gain little.
enum TwoThreads {
  /// Calls `work` with each of `0..<items`, in no order, until one returns false or throws. The first error is thrown after both have ended.
  static func run(
    _ items: Int, _ work: @Sendable (Int) throws(QueueError) -> Bool
  ) throws(QueueError) {
    let next = Atomic<Int>(0)
    let failure = Mutex<QueueError?>(nil)
    @Sendable func drain() {
      while true {
        let item = next.add(1, ordering: .relaxed).oldValue
        if item >= items { return }
        do throws(QueueError) {
          if try work(item) { continue }
        } catch {
          failure.withLock { $0 = $0 ?? error }
        }
        next.store(items, ordering: .relaxed)
        return
      }
    }
    if items <= 1 {
      drain()
    } else {
      DispatchQueue.concurrentPerform(iterations: 2) { _ in drain() }
    }
    if let failure = failure.withLock({ $0 }) { throw failure }
  }
}
