import ArgumentParser

struct Delete: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "delete",
    abstract: "Take messages out of the queue for good, while qmail runs.",
    discussion: """
      As 'qwarden quarantine', but nothing is kept and nothing can be put back. For safety a copy is made while a message is being marked; it is removed as \
      soon as the marks are on the disk, a batch of at most 2048 messages at a time. The sender gets no bounce.

      \(RemovalOptions.fatesHelp)

      \(SelectionOptions.patternHelp)
      """)

  @OptionGroup var options: RemovalOptions

  func run() throws { try Removal(options: options, keepsCopy: false).run() }
}
