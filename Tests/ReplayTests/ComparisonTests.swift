import Mail
import Policy
import Replay
import Response
import Storms
import Testing

@Suite("Two policies compared")
struct ComparisonTests {
  private func compare(_ name: String, _ first: Policy, _ second: Policy) throws -> Comparison {
    let trace = try Recorded.trace(name)
    var comparison = Comparison(first, second, header: trace.header)
    for observation in trace.observations { comparison.observe(observation) }
    return comparison
  }

  @Test("one policy is like itself")
  func same() throws {
    let comparison = try compare("relay_user", enforcing(), enforcing())
    #expect(comparison.storms.count == 1)
    #expect(comparison.storms.allSatisfy { $0.first?.told == $0.second?.told })
    #expect(comparison.blocks.count == 1 && comparison.blocks.values.allSatisfy(\.areAlike))
    #expect(comparison.messages.count == 1 && comparison.messages[0].fates.areAlike)
    #expect(comparison.messages[0].messages.count > 200)
  }

  @Test("a cap and a protected sender show as what they hold, message by message")
  func held() throws {
    let careful = enforcing {
      $0.quarantine.perStorm = 100
      $0.blocking.isEnabled = false
    }
    let comparison = try compare("relay_user", enforcing(), careful)
    #expect(comparison.blocks[Address("dave@mx.test")]?.first == .done)
    #expect(comparison.blocks[Address("dave@mx.test")]?.second == .held(.switchedOff))
    let alike = comparison.messages.filter { $0.fates.areAlike }
    #expect(alike.map(\.messages.count) == [100])
    let others = comparison.messages.filter { !$0.fates.areAlike }
    #expect(others.map(\.fates.second) == [.held(.messagesPerStorm)])
    #expect(others.first?.messages.samples.count == 3)
  }

  @Test("a storm that only one of them sees, and its messages, are that one's")
  func unseen() throws {
    let blind = enforcing {
      $0.detection.messages = 100_000
      $0.detection.recipients = 100_000
    }
    let comparison = try compare("relay_user", blind, enforcing())
    #expect(comparison.storms.map { $0.first == nil && $0.second != nil } == [true])
    #expect(comparison.messages.map(\.fates.first) == [.nothing])
    #expect(comparison.messages.map(\.fates.second) == [.done])
  }
}
