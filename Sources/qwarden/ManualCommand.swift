import ArgumentParser
import Files

/// Hidden: `make man` writes the manual with it.
struct Manual: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "manual", abstract: "Print a page of the manual in roff.", shouldDisplay: false)

  @Argument(
    help: ArgumentHelp(
      "1 is qwarden(1), 5 qwarden-policy(5), 8 qwarden-run(8).", valueName: "section"))
  var section: Int

  func run() throws {
    Output.write(try Self.page(section))
  }

  static func page(_ section: Int) throws -> String {
    guard let tree = CommandTree.qwarden else {
      throw PlainFailure("the help of this build cannot be read", Exit.badData)
    }
    switch section {
    case 1: return CommandsPage.text(tree)
    case 5: return PolicyPage.text
    case 8: return DaemonPage.text(tree)
    default: throw PlainFailure("the manual has the sections 1, 5 and 8", Exit.usage)
    }
  }
}
