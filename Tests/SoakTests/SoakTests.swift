import Testing

@testable import soak

/// `make soak` in small: two days, each with a storm, a kill, a restart and half of the faults.
@Suite struct SoakTests {
  @Test(
    "two short days of mail, storms, reloads, restarts and faults: every recipient is accounted for"
  )
  func sample() throws {
    var plan = SoakPlan()
    plan.periods = 2
    plan.length = 7200
    plan.ordinary = 50
    plan.strangers = 0
    plan.storms = 1
    let run = try SoakRun(plan)
    run.play { print($0) }
    #expect(run.complaints == [], "\(run.verdict.joined(separator: "\n"))")
  }
}
