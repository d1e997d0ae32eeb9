import Corpus
import Mail
import Testing

@Suite("The corpus")
struct EvaluationTests {
  @Test("what is promised of detection holds on the quick half of the corpus")
  func totals() async {
    var table = EvaluationTable()
    for scenario in Catalog.quick {
      table.add(Evaluation(scenario))
      // Others are tested beside this, some of them against the clock.
      await Task.yield()
    }
    let rows = table.lines.joined(separator: "\n")
    #expect(table.storms >= 60)
    #expect(table.fastStormsFound * 100 >= table.fastStorms * 98, "\(rows)")
    #expect(table.stormsFound * 100 >= table.storms * 95, "\(rows)")
    #expect(table.kindsRight * 10 >= table.stormsFound * 9, "\(rows)")
    #expect(table.offendersRight * 20 >= table.stormsFound * 19, "\(rows)")
    #expect(table.medianSeconds <= 5 || table.medianMessages <= 40, "\(rows)")
    #expect(table.longestSeconds <= 60, "\(rows)")
    #expect(table.innocentsBlocked == 0 && table.innocentsQuarantined == 0, "\(rows)")
    #expect(table.falseStorms <= 1, "\(rows)")
    #expect(table.mostAlerts <= 2, "\(rows)")
  }

  @Test("a scenario is the same mail each time it is played")
  func deterministic() {
    func lines() -> [Observation] {
      var all: [Observation] = []
      _ = Catalog.quick[0].play { observation, _ in all.append(observation) }
      return all
    }
    let first = lines()
    #expect(first.count > 5000)
    #expect(first == lines())
  }
}
