import Dispatch

/// Runs an actor on a Dispatch queue, so that its timers, signals and inotify events need no hop.
///
/// Dispatch on Linux has no `DispatchSerialQueue`; without `checkIsolated` here `assumeIsolated` would trap.
final class DispatchExecutor: SerialExecutor {
  let queue: DispatchQueue

  init(label: String) {
    queue = DispatchQueue(label: label)
  }

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    let executor = asUnownedSerialExecutor()
    queue.async { job.runSynchronously(on: executor) }
  }

  func asUnownedSerialExecutor() -> UnownedSerialExecutor {
    UnownedSerialExecutor(ordinary: self)
  }

  func checkIsolated() {
    dispatchPrecondition(condition: .onQueue(queue))
  }
}
