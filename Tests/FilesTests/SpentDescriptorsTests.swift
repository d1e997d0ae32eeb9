import Files
import Glibc
import Testing

@Suite("Descriptors that are done with")
struct SpentDescriptorsTests {
  @Test(
    "all are closed, at the latest with their keeper, and none that stands among them",
    arguments: [1, 2, 4, 100])
  func closing(most: Int) {
    let pipes = (0..<12).map { _ in Pipe() }
    let kept = 5
    do {
      var spent = SpentDescriptors(most: most)
      // Neither in order nor side by side: each pipe's other end stands between.
      for at in pipes.indices.reversed() where at != kept { spent.add(pipes[at].start) }
      if most == 4 { #expect(pipes[11].isHungUp(within: 5000) && !pipes[0].isHungUp(within: 0)) }
    }
    for at in pipes.indices where at != kept { #expect(pipes[at].isHungUp(within: 5000)) }
    #expect(write(pipes[kept].start, "x", 1) == 1)
    for pipe in pipes { close(pipe.end) }
    close(pipes[kept].start)
  }

  @Test("of those that stand side by side one in use is left alone")
  func gap() {
    let pipes = (0..<4).map { _ in Pipe() }
    let kept = pipes[2]
    do {
      var spent = SpentDescriptors(most: 100)
      for pipe in pipes where pipe.start != kept.start {
        spent.add(pipe.start)
        spent.add(pipe.end)
      }
    }
    #expect(write(kept.start, "x", 1) == 1)
    var byte: UInt8 = 0
    #expect(read(kept.end, &byte, 1) == 1)
    close(kept.start)
    close(kept.end)
  }
}
