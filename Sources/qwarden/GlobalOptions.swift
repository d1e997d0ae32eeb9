import ArgumentParser

/// Where qmail, our own state and the policy are; the same three on every command.
struct Places: ParsableArguments {
  @Option(help: ArgumentHelp("The qmail directory.", valueName: "dir"))
  var qmail = "/var/qmail"

  @Option(
    help: ArgumentHelp("Where qwarden keeps its ledger and the quarantine.", valueName: "dir"))
  var state = "/var/lib/qwarden"

  @Option(help: ArgumentHelp("The policy file.", valueName: "file"))
  var policy = "/etc/qwarden/policy.yaml"
}

/// On every command that reads.
struct JSONOption: ParsableArguments {
  @Flag(help: "Print one JSON object a line.")
  var json = false
}
