import CLinux
import Dispatch
import Glibc
import Synchronization

/// Shares work between two threads: handling small files is nearly all system calls, and two threads halve it; more gain little. Where files have to come
/// from the disk first, each thread asks it for one at a time, and up to ``reads`` of them keep it busy.
public enum SharedWork {
  /// Reads in flight at most: eight do in half the time what two do, and leave a disk some room for the mail.
  public static let reads = 8
  /// How often is looked whether the disk is read from.
  private static let tick = DispatchTimeInterval.milliseconds(5)

  /// Which of the descriptors open before are there in threads that have their own.
  public enum Apart: Sendable {
    case keepingAll
    /// This one and 0 to 2: what is closed meanwhile elsewhere is closed. For a process that does other work beside it: a copy would keep a
    /// client waiting for its end, and a lease from ending.
    case keeping(Int32)
  }

  /// Calls `work` with each of `0..<items`, in no order, until one returns false or throws. The first error is thrown after all have ended.
  ///
  /// - Parameters:
  ///   - most: threads; those above two begin one after the other, for as long as this process reads from a disk.
  ///   - apart: each thread with descriptors of its own, that end with the work: in a table that is shared each system call costs a lock or a counter
  ///     (5 % of reading many small files). What the work opens it must close.
  public static func run<Failure: Error>(
    _ items: Int, atMost most: Int = 2, apart: Apart? = nil,
    _ work: @Sendable (Int) throws(Failure) -> Bool
  ) throws(Failure) {
    try run(items, atMost: most, apart: apart, each: {}) { (_, item) throws(Failure) in
      try work(item)
    }
  }

  /// The same, where a thread keeps something from one item to the next: a buffer, directories held open.
  /// - Parameters:
  ///   - each: makes it, in each thread.
  ///   - fetched: says how much has been read from disks so far.
  public static func run<Own: ~Copyable, Failure: Error>(
    _ items: Int, atMost most: Int = 2, apart: Apart? = nil,
    fetched: () -> Int = Self.blocksFetched, each begin: @Sendable () -> Own,
    _ work: @Sendable (inout Own, Int) throws(Failure) -> Bool
  ) throws(Failure) {
    let next = Atomic<Int>(0)
    let failure = Mutex<Failure?>(nil)
    @Sendable func drain() {
      var own = begin()
      while true {
        let item = next.add(1, ordering: .relaxed).oldValue
        if item >= items { return }
        do throws(Failure) {
          if try work(&own, item) { continue }
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
      withoutActuallyEscaping(drain) { drain in
        let ended = DispatchSemaphore(value: 0)
        func another() -> pthread_t? {
          OwnThread.begin(apart) {
            drain()
            ended.signal()
          }
        }
        var threads = (0..<2).compactMap { _ in another() }
        // None to be had: then here.
        if threads.isEmpty { drain() }
        var known = fetched()
        var left = threads.count
        while left > 0 {
          if ended.wait(timeout: most > 2 ? .now() + tick : .distantFuture) == .success {
            left -= 1
            continue
          }
          let now = fetched()
          if now > known, threads.count < most, next.load(ordering: .relaxed) < items,
            let thread = another()
          {
            threads.append(thread)
            left += 1
          }
          known = now
        }
        for thread in threads { pthread_join(thread, nil) }
      }
    }
    if let failure = failure.withLock({ $0 }) { throw failure }
  }

  /// What this process has had to fetch from disks so far, as getrusage(2) counts it; some network filesystems are not in it.
  public static func blocksFetched() -> Int {
    var usage = rusage()
    return getrusage(Int32(RUSAGE_SELF.rawValue), &usage) == 0 ? usage.ru_inblock : 0
  }
}

/// A thread, perhaps with descriptors of its own.
private final class OwnThread {
  private let descriptors: SharedWork.Apart?
  private let body: @Sendable () -> Void

  private init(_ descriptors: SharedWork.Apart?, _ body: @escaping @Sendable () -> Void) {
    self.descriptors = descriptors
    self.body = body
  }

  private func run() {
    // Where it is refused they share, which costs time only.
    if let descriptors, clinux_unshare_descriptors() == 0, case .keeping(let kept) = descriptors {
      Self.closeAll(but: kept)
    }
    body()
  }

  private static func closeAll(but kept: Int32) {
    let first = STDERR_FILENO + 1
    if clinux_close_range(first, kept - 1) == 0,
      clinux_close_range(max(first, kept + 1), .max) == 0
    {
      return
    }
    // Before Linux 5.9, or where a filter of system calls does not know it.
    for number in first..<Int32(clamping: sysconf(Int32(_SC_OPEN_MAX))) where number != kept {
      close(number)
    }
  }

  /// - Returns: the thread, to be joined; nil where the kernel gives none.
  static func begin(_ descriptors: SharedWork.Apart?, _ body: @escaping @Sendable () -> Void)
    -> pthread_t?
  {
    var thread = pthread_t()
    let own = Unmanaged.passRetained(OwnThread(descriptors, body))
    let failure = pthread_create(
      &thread, nil,
      { own in
        own.map { Unmanaged<OwnThread>.fromOpaque($0).takeRetainedValue().run() }
        return nil
      }, own.toOpaque())
    if failure == 0 { return thread }
    own.release()
    return nil
  }
}
