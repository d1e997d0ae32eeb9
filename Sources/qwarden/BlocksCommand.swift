import ArgumentParser
import Files
import Ledger
import Mail

struct Blocks: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "blocks",
    abstract: "List the senders that qwarden blocks.",
    discussion: "Exits 1 when there is none.")

  @Flag(help: "Also those whose time is over or that were lifted.")
  var past = false
  @OptionGroup var places: Places
  @OptionGroup var format: JSONOption

  func run() throws {
    let ledger = try Ledger.reading(places)
    let blocks =
      past ? try ledger.blocks(Set(Block.State.allCases)) : try ledger.standingBlocks()
    if blocks.isEmpty { throw PlainFailure("nobody is blocked", Exit.nothingMatched) }
    for block in blocks {
      if format.json {
        var line = JSONLine()
        line.add("address", bytes: block.entry.bytes)
        line.add("state", block.state.rawValue)
        line.add("created", block.created.seconds)
        line.add("expires", block.expires.seconds)
        switch block.author {
        case .incident(let incident): line.add("incident", incident)
        case .administrator(let name): line.add("by", name)
        }
        line.add("reason", block.reason)
        if let removal = block.removal {
          line.add("removed", removal.time.seconds)
          line.add("removed_by", removal.by)
          line.add("removed_why", removal.why)
        }
        Output.line(line.text)
      } else {
        let author =
          switch block.author {
          case .incident(let incident): "incident \(incident)"
          case .administrator(let name): "by \(Escaping.terminal(name))"
          }
        let state =
          block.removal.map { "removed \($0.time.iso8601), \(Escaping.terminal($0.why))" }
          ?? "until \(block.expires.iso8601)"
        Output.line(
          "\(Readable.pad(block.entry.description, 32))  \(state)  \(author): \(IncidentDossier.short(Escaping.terminal(block.reason)))"
        )
      }
    }
  }
}
