import ArgumentParser
import Files
import Glibc
import Mail
import Policy

/// The command line. Every error leaves through ``main()``: one line on standard error and the exit code of its kind.
@main
struct Qwarden: ParsableCommand {
  static let version = "0.1.0"

  static let configuration = CommandConfiguration(
    commandName: "qwarden",
    abstract:
      "A watchdog for qmail: sees a bounce storm begin, stops it, and can put every message back.",
    version: version,
    subcommands: [SimulatedQmailQueue.self, Manual.self, WriteBadmailfrom.self],
    groupedSubcommands: [
      CommandGroup(
        name: "Watching", subcommands: [Run.self, Status.self, Top.self, Incidents.self]),
      CommandGroup(
        name: "The queue",
        subcommands: [Stat.self, List.self, Show.self, Retry.self, CheckQueue.self]),
      CommandGroup(
        name: "Blocks", subcommands: [BlockSender.self, UnblockSender.self, Blocks.self]),
      CommandGroup(
        name: "Quarantine",
        subcommands: [SetAside.self, Quarantined.self, Release.self, Delete.self]),
      CommandGroup(
        name: "Trying it",
        subcommands: [CheckPolicy.self, Record.self, ReplayTraces.self, Explain.self, Demo.self]),
    ])

  static func main() {
    Output.holdStandardStreams()
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch let errors as PolicyErrors {
      // As compilers print theirs, so that editors find the places.
      Output.write("\(errors)\n", to: STDERR_FILENO)
      Glibc.exit(errors.exitCode)
    } catch let failure as any CommandFailure {
      Output.complain(failure.description)
      Glibc.exit(failure.exitCode)
    } catch {
      guard exitCode(for: error) == .validationFailure else { exit(withError: error) }
      Output.write(asTyped(fullMessage(for: error)) + "\n", to: STDERR_FILENO)
      Glibc.exit(Exit.usage)
    }
  }

  /// The parser's words about what was typed, with that escaped: a script may have put anything there.
  private static func asTyped(_ message: String) -> String {
    let words = CommandLine.arguments.dropFirst().flatMap { word in
      [word] + word.split(separator: "=", maxSplits: 1).dropFirst().map(String.init)
    }
    return words.sorted { $0.utf8.count > $1.utf8.count }.reduce(message) { message, word in
      let escaped = Escaping.terminal(word)
      return escaped == word ? message : message.replacing(word, with: escaped)
    }
  }
}
