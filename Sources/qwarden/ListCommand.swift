import ArgumentParser
import Files
import Mail
import QmailQueue
import Selection
import Synchronization

struct List: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "List the messages in the queue.",
    discussion: """
      One line a message: number, age, size, recipients still to try of all, sender, where it came from, and the first recipient. \
      Messages that qmail-send has not taken in yet are listed too, except with --format qread, which prints what qmail-qread prints.

      Exits 1 when nothing matched.
      """)

  enum Format: String, ExpressibleByArgument, CaseIterable {
    case text
    case qread
    case json
  }

  @OptionGroup var chosen: SelectionOptions
  @OptionGroup var places: Places
  @Option(help: "How to print: text, qread or json.")
  var format: Format = .text
  @OptionGroup var json: JSONOption

  func run() throws {
    let scanner = QueueScanner(layout: try QueueLayout.read(qmail: places.qmail))
    let selection = try chosen.selection()
    let format = json.json ? .json : self.format
    let found = Mutex(false)
    if format == .qread, selection.isEmpty || selection.isEverything {
      try scanner.qread { piece in
        found.withLock { $0 = $0 || !piece.isEmpty }
        Output.write(piece, to: 1)
        return true
      }
    } else {
      let now = WallClock.now()
      if format == .text { Output.line(Self.heading) }
      try scanner.forEachEntry { outcomes in
        var bytes: [UInt8] = []
        for outcome in outcomes {
          switch outcome {
          case .entry(let entry) where selection.isEmpty || selection.matches(entry, now: now):
            found.withLock { $0 = true }
            switch format {
            case .text: bytes += Self.row(entry, now: now).utf8
            case .qread: bytes += QreadFormat.text(entry)
            case .json: bytes += entry.json.closed + [UInt8(ascii: "\n")]
            }
          case .damaged(let id, let why) where selection.isEmpty || selection.ids.contains(id):
            Output.complain("message \(id): \(why)")
          default: break
          }
        }
        Output.write(bytes, to: 1)
        return true
      }
    }
    if !found.withLock({ $0 }), !selection.isEmpty { throw ExitCode(Exit.nothingMatched) }
  }

  private static let heading =
    Readable.right("ID", 9) + Readable.right("AGE", 5) + Readable.right("SIZE", 6)
    + Readable.right("LEFT", 8) + "  " + Readable.pad("SENDER", 32) + " "
    + Readable.pad("FROM", 24) + " TO"

  private static func row(_ entry: Entry, now: Timestamp) -> String {
    let total = entry.local.count + entry.remote.count + entry.unrouted.count
    let left = entry.pendingCount
    let next =
      (entry.local + entry.remote).first { !$0.isDone }?.address ?? entry.unrouted.first
    var to = next.map(\.description) ?? "-"
    if left > 1 { to += " and \(left - 1) more" }
    var marks: [String] = []
    if entry.isUnprocessed { marks.append("unprocessed") }
    if entry.isBouncing { marks.append("bouncing") }
    if entry.isDoneOnly { marks.append("leaving") }
    if !marks.isEmpty { to += " (\(marks.joined(separator: ", ")))" }
    return Readable.right(String(entry.identity.id), 9)
      + Readable.right(Readable.age(now.seconds(since: entry.identity.birth)), 5)
      + Readable.right(Readable.size(entry.size), 6)
      + Readable.right("\(left)/\(total)", 8) + "  "
      + Readable.pad("<\(entry.sender)>", 32) + " "
      + Readable.pad(Readable.source(entry.source), 24)
      + " \(to)\n"
  }
}
