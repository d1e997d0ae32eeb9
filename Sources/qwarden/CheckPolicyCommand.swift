import ArgumentParser
import Mail
import Policy

struct CheckPolicy: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check-policy",
    abstract: "Check a policy file and print every error in it.",
    discussion: """
      Errors go to standard error as compilers print theirs; with --json to standard output, each with path, line, column and message. \
      Exits 0 when the policy can be used and 78 when it cannot.
      """)

  @Argument(help: ArgumentHelp("The policy to check, instead of --policy.", valueName: "file"))
  var file: String?

  @OptionGroup var format: JSONOption
  @OptionGroup var places: Places

  func run() throws {
    let file = file ?? places.policy
    let policy: Policy
    do throws(PolicyErrors) { policy = try PolicyFile.load(file) } catch {
      guard format.json else { throw error }
      for error in error.errors { Output.line(error.json.text) }
      throw ExitCode(error.exitCode)
    }
    guard format.json else {
      return Output.line("\(Escaping.terminal(file)): good; mode \(policy.mode.rawValue)")
    }
    var line = JSONLine()
    line.add("path", file)
    line.add("mode", policy.mode.rawValue)
    Output.line(line.text)
  }
}

extension PolicyError {
  /// Line and column are null where the whole file is meant.
  fileprivate var json: JSONLine {
    var line = JSONLine()
    line.add("path", path)
    for (name, number) in [("line", self.line), ("column", column)] {
      if self.line > 0 { line.add(name, number) } else { line.addNull(name) }
    }
    line.add("message", message)
    return line
  }
}
