import ArgumentParser

struct SetAside: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "quarantine",
    abstract: "Take messages out of the queue and keep them, while qmail runs.",
    discussion: """
      Shows what the order is about and asks. Each message is copied to the quarantine, and its recipients still to be tried are marked as done, \
      so that qmail-send itself removes it: no stop, no bounce, no delivery. 'qwarden release' puts it back, until the policy's \
      quarantine: keep is over. It is your own order: it holds in observe mode, and for senders on the protect list.

      \(RemovalOptions.fatesHelp)

      \(SelectionOptions.patternHelp)
      """)

  @OptionGroup var options: RemovalOptions

  func run() throws { try Removal(options: options, keepsCopy: true).run() }
}
