import ArgumentParser
import Policy

struct CheckPolicy: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check-policy",
    abstract: "Check a policy file and print every error in it.",
    discussion: "Exits 0 when the policy can be used and 78 when it cannot.")

  @Argument(help: ArgumentHelp("The policy to check, instead of --policy.", valueName: "file"))
  var file: String?

  @Flag(name: .shortAndLong, help: "Print nothing when all is well.")
  var quiet = false

  @OptionGroup var places: Places

  func run() throws {
    let file = file ?? places.policy
    let policy = try PolicyFile.load(file)
    if !quiet { Output.line("\(file): good; mode \(policy.mode.rawValue)") }
  }
}
