import ArgumentParser

/// The queue to read.
struct QueuePlace: ParsableArguments {
  @Option(help: ArgumentHelp("The qmail directory.", valueName: "dir"))
  var qmail = "/var/qmail"
}

/// Where the ledger and the quarantine are.
struct StatePlace: ParsableArguments {
  @Option(
    help: ArgumentHelp("Where qwarden keeps its ledger and the quarantine.", valueName: "dir"))
  var state = "/var/lib/qwarden"
}

/// The policy in force.
struct PolicyPlace: ParsableArguments {
  @Option(help: ArgumentHelp("The policy file.", valueName: "file"))
  var policy = "/etc/qwarden/policy.yaml"
}

/// On every command that reads.
struct JSONOption: ParsableArguments {
  @Flag(help: "Print one JSON object a line.")
  var json = false
}
