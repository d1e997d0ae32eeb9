import ArgumentParser
import Files
import Mail
import QmailQueue

struct Stat: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stat",
    abstract: "Count the messages in the queue, as qmail-qstat does.",
    discussion: """
      Prints what qmail-qstat prints, byte for byte. With --all also how many have local and remote recipients, done ones among them, \
      how many have failed recipients, and how many have nobody left to try and leave at their next pass. A message of which a file \
      cannot be read is told, is in none of these, and makes it exit 74 or 77.
      """)

  @OptionGroup var places: Places
  @OptionGroup var format: JSONOption
  @Flag(help: "Read every message and count local, remote, bouncing and finished ones too.")
  var all = false

  func run() throws {
    let scanner = QueueScanner(layout: try QueueLayout.read(qmail: places.qmail))
    let unread = Unread()
    let counts =
      all
      ? try scanner.detailedCounts { unread.complain([$0], exit: Exit.inputOutput) }
      : try scanner.counts()
    if format.json {
      var line = JSONLine()
      line.add("messages", counts.messages)
      line.add("unprocessed", counts.unprocessed)
      for (name, count) in Self.details(counts) { line.add(name, count) }
      Output.line(line.text)
    } else {
      Output.line("messages in queue: \(counts.messages)")
      Output.line("messages in queue but not yet preprocessed: \(counts.unprocessed)")
      for (name, count) in Self.details(counts) { Output.line("\(name): \(count)") }
    }
    try unread.finish()
  }

  private static func details(_ counts: QueueCounts) -> [(String, Int)] {
    [
      ("local", counts.local), ("remote", counts.remote), ("bouncing", counts.bouncing),
      ("finished", counts.doneOnly),
    ].compactMap { name, count in count.map { (name, $0) } }
  }
}
