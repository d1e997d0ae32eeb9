import CLinux
import Dispatch
import Glibc
import Synchronization

/// Shares work between two threads: handling small files is nearly all system calls, and two threads halve it; more gain little.
public enum TwoThreads {
  /// Calls `work` with each of `0..<items`, in no order, until one returns false or throws. The first error is thrown after both have ended.
  ///
  /// - Parameter apart: on two new threads, each with descriptors of its own, that end with the work: in a table that is shared each system call
  ///   costs a lock or a counter (5 % of reading many small files). What the work opens it must close; what was open before it can use.
  public static func run<Failure: Error>(
    _ items: Int, apart: Bool = false, _ work: @Sendable (Int) throws(Failure) -> Bool
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
    } else if apart {
      withoutActuallyEscaping(drain) { drain in
        let threads = (0..<2).compactMap { _ in OwnThread.begin(drain) }
        // None to be had: then here.
        if threads.isEmpty { drain() }
        for thread in threads { pthread_join(thread, nil) }
      }
    } else {
      DispatchQueue.concurrentPerform(iterations: 2) { _ in drain() }
    }
    if let failure = failure.withLock({ $0 }) { throw failure }
  }
}

/// A thread that has descriptors of its own.
private final class OwnThread {
  private let body: @Sendable () -> Void

  private init(_ body: @escaping @Sendable () -> Void) { self.body = body }

  /// - Returns: the thread, to be joined; nil where the kernel gives none.
  static func begin(_ body: @escaping @Sendable () -> Void) -> pthread_t? {
    var thread = pthread_t()
    let own = Unmanaged.passRetained(OwnThread(body))
    let failure = pthread_create(
      &thread, nil,
      { own in
        // Where it is refused they share, which costs time only.
        _ = clinux_unshare_descriptors()
        own.map { Unmanaged<OwnThread>.fromOpaque($0).takeRetainedValue().body() }
        return nil
      }, own.toOpaque())
    if failure == 0 { return thread }
    own.release()
    return nil
  }
}
