import ArgumentParser
import Files
import Ledger
import Mail
import Policy
import Response

struct BlockSender: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "block",
    abstract: "Put an envelope sender into badmailfrom for a time.",
    discussion: """
      The line is marked as qwarden's and taken out when its time is over; the other lines of badmailfrom stay as they are, byte for byte. \
      badmailfrom stops mail that comes by SMTP, and nothing else.
      """)

  @Argument(help: ArgumentHelp("user@domain, or @domain for a whole domain.", valueName: "address"))
  var address: String
  @Option(
    name: .customLong("for"), help: ArgumentHelp("How long, such as 2h or 7d.", valueName: "time"))
  var lasting = "24h"
  @Option(help: ArgumentHelp("Why, for the record.", valueName: "text"))
  var reason = "by hand"
  @OptionGroup var places: Places

  func run() throws {
    let time = lasting
    let lasting = try SelectionOptions.duration(time, "--for")
    guard lasting > .zero else {
      throw PlainFailure("--for \(time): a block for no time blocks nobody", Exit.usage)
    }
    guard !address.contains("*") else {
      throw PlainFailure(
        "\(Escaping.terminal(address)): a block is for one sender, or for @domain; write no wildcard",
        Exit.badData)
    }
    let hands = try CommandHands.open(places)
    let outcomes = hands.block(
      Address(address).lowercased, lasting: lasting, reason: reason, by: CommandHands.author,
      at: WallClock.now())
    for outcome in outcomes {
      switch outcome {
      case .blocked(let block):
        Output.line("\(block.entry) is blocked until \(block.expires.iso8601)")
      case .failed(let failure): throw failure
      default: break
      }
    }
  }
}

struct UnblockSender: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "unblock",
    abstract: "Take a sender that qwarden blocked out of badmailfrom.",
    discussion: """
      The decision is remembered: qwarden leaves the sender alone for the policy's grace time. A line that an administrator wrote is not touched. \
      Exits 1 when qwarden does not block the address.
      """)

  @Argument(help: ArgumentHelp("user@domain, or @domain.", valueName: "address"))
  var address: String
  @OptionGroup var places: Places

  func run() throws {
    let hands = try CommandHands.open(places)
    let outcomes = hands.unblock(
      Address(address).lowercased, by: CommandHands.author, at: WallClock.now())
    var isDone = false
    for outcome in outcomes {
      switch outcome {
      case .unblocked(let block):
        isDone = true
        Output.line(
          "\(block.entry) is no longer blocked, and is left alone for \(hands.policy.blocking.grace.text)"
        )
      case .failed(let failure): throw failure
      default: break
      }
    }
    if !isDone {
      throw PlainFailure(
        "\(Escaping.terminal(address)) is not blocked by qwarden", Exit.nothingMatched)
    }
  }
}
