import Dispatch
import Synchronization

/// Shares work between two threads: handling small files is nearly all system calls, and two threads halve it; more gain little.
public enum TwoThreads {
  /// Calls `work` with each of `0..<items`, in no order, until one returns false or throws. The first error is thrown after both have ended.
  public static func run<Failure: Error>(
    _ items: Int, _ work: @Sendable (Int) throws(Failure) -> Bool
  ) throws(Failure) {
    let next = Atomic<Int>(0)
    let failure = Mutex<Failure?>(nil)
    @Sendable func drain() {
      while true {
        let item = next.add(1, ordering: .relaxed).oldValue
        if item >= items { return }
        do throws(Failure) {
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
