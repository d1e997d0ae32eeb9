import Foundation
import Glibc

/// `make soak`: the real daemon on a simulated qmail for thirty days of mail, storms, reloads, restarts and faults, with an account of every recipient.
///
///     soak [--days N] [--seed N] [--folder DIR] [--real HOURS]
@main
struct Soak {
  static func main() {
    signal(SIGPIPE, SIG_IGN)
    do {
      let run = try SoakRun(plan(CommandLine.arguments.dropFirst()))
      print(SoakRun.heading)
      run.play {
        print($0)
        fflush(nil)
      }
      for line in run.verdict { print(line) }
      exit(run.complaints.isEmpty ? 0 : 1)
    } catch {
      print("soak: \(error)")
      exit(74)
    }
  }

  struct Problem: Error, CustomStringConvertible { var description: String }

  private static func plan(_ arguments: ArraySlice<String>) throws -> SoakPlan {
    var plan = SoakPlan()
    var rest = arguments
    while let word = rest.popFirst() {
      guard let value = rest.popFirst() else { throw Problem(description: "\(word) needs a value") }
      switch (word, Double(value)) {
      case ("--days", let days?) where days >= 1: plan.periods = Int(days)
      case ("--seed", let seed?): plan.seed = UInt64(seed)
      case ("--real", let hours?) where hours > 0: plan.isReal(hours: hours)
      case ("--folder", _): plan.folder = value
      default: throw Problem(description: "\(word) \(value) is not understood")
      }
    }
    return plan
  }
}

/// What is played.
struct SoakPlan {
  var periods = 30
  /// Of a period, in seconds.
  var length = 86_400.0
  var ordinary = 1000
  /// On the first day.
  var strangers = 17_000
  var storms = 2
  var isReal = false
  var seed: UInt64 = 1
  /// Kept; nil: a temporary one, removed when all went well.
  var folder: String?

  /// Nothing is left out: periods of ten minutes.
  mutating func isReal(hours: Double) {
    isReal = true
    length = 600
    periods = max(1, Int(hours * 6))
    ordinary = 300
  }
}
