import Files
import Glibc

/// The question before a command changes something. A person at a terminal is asked; a script must say `--yes`.
struct Confirmation {
  let isGiven: Bool
  let isTerminal: Bool
  /// Puts the question and reads one line; nil at the end of input.
  let ask: (String) -> String?

  init(
    isGiven: Bool, isTerminal: Bool = isatty(STDIN_FILENO) == 1 && isatty(STDERR_FILENO) == 1,
    ask: @escaping (String) -> String? = Confirmation.askOnTerminal
  ) {
    self.isGiven = isGiven
    self.isTerminal = isTerminal
    self.ask = ask
  }

  /// Asked before any work is done.
  /// - Throws: when nobody could be asked and `--yes` was not given.
  func checkPossible() throws {
    if isGiven || isTerminal { return }
    throw PlainFailure(
      "there is no terminal to ask on: give --yes to go on without a question, or --dry-run to see what would be done",
      Exit.usage)
  }

  /// - Throws: when the answer is not yes; nothing was done then.
  func require(_ question: String) throws {
    try checkPossible()
    if isGiven { return }
    let answer = ask("\(question) [y/N] ")?.lowercased()
    if answer == "y" || answer == "yes" { return }
    throw PlainFailure("nothing was done", Exit.nothingMatched)
  }

  private static func askOnTerminal(_ question: String) -> String? {
    Output.write(question, to: STDERR_FILENO)
    return readLine()
  }
}
