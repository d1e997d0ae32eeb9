import Files
import Glibc
import Synchronization
import Testing

@Suite("Shared work")
struct SharedWorkTests {
  @Test("threads apart that keep one descriptor do not hold on to what is closed elsewhere")
  func keeping() {
    let pipe = Pipe()
    let kept = open("/dev/null", O_RDONLY | O_CLOEXEC)
    let running = Atomic<Int>(0)
    let isOver = Atomic<Bool>(false)
    let isHungUp = Atomic<Bool>(false)
    let usable = Atomic<Int>(0)
    SharedWork.run(2) { item in
      if item == 0 {
        SharedWork.run(2, apart: .keeping(kept)) { _ in
          running.add(1, ordering: .relaxed)
          for _ in 0..<5000 where !isOver.load(ordering: .relaxed) { usleep(1000) }
          if fcntl(kept, F_GETFD) >= 0 { usable.add(1, ordering: .relaxed) }
          return true
        }
      } else {
        for _ in 0..<5000 where running.load(ordering: .relaxed) < 2 { usleep(1000) }
        close(pipe.start)
        isHungUp.store(pipe.isHungUp(within: 2000), ordering: .relaxed)
        isOver.store(true, ordering: .relaxed)
      }
      return true
    }
    let outcome = (isHungUp.load(ordering: .relaxed), usable.load(ordering: .relaxed))
    #expect(outcome == (true, 2))
    close(kept)
    close(pipe.end)
  }

  @Test(
    "threads join while files come from the disk, up to so many, and none else",
    arguments: [true, false])
  func joining(isCold: Bool) {
    let most = 5
    let expected = isCold ? most : 2
    let running = Atomic<Int>(0)
    let highest = Atomic<Int>(0)
    let fetched = Atomic<Int>(0)
    SharedWork.run(
      expected * 2, atMost: most,
      fetched: { fetched.add(isCold ? 8 : 0, ordering: .relaxed).newValue }, each: {}
    ) { (_, item) in
      let now = running.add(1, ordering: .relaxed).newValue
      highest.max(now, ordering: .relaxed)
      // Until all have come that should; some ticks more, for those that should not.
      for _ in 0..<5000 where highest.load(ordering: .relaxed) < expected { usleep(1000) }
      usleep(30_000)
      running.subtract(1, ordering: .relaxed)
      return true
    }
    #expect(highest.load(ordering: .relaxed) == expected)
  }
}
