import ArgumentParser
import Response

/// Where things are: the same three on every command.
struct Places: ParsableArguments {
  @Option(
    help: ArgumentHelp("The qmail directory.", valueName: "dir"), completion: .directory)
  var qmail = "/var/qmail"

  @Option(
    help: ArgumentHelp("Where qwarden keeps its ledger and the quarantine.", valueName: "dir"),
    completion: .directory)
  var state = "/var/lib/qwarden"

  @Option(help: ArgumentHelp("The policy file.", valueName: "file"), completion: .file())
  var policy = Places.usualPolicy

  static let usualPolicy = "/etc/qwarden/policy.yaml"

  var forHands: Responder.Places { Responder.Places(qmail: qmail, state: state) }
}

/// On every command that reads.
struct JSONOption: ParsableArguments {
  @Flag(help: "Print one JSON object a line.")
  var json = false
}
