import Files

/// qwarden(1): every command and option as the help has them, and what is common to all.
enum CommandsPage {
  static func text(_ tree: CommandTree) -> String {
    var page = Roff("qwarden", section: 1, summary: "watchdog for a qmail queue")
    page.section("Synopsis")
    page.example(tree.commands.map { "qwarden \($0.name) \(calls($0))" })
    page.section("Description")
    page.paragraphs(
      """
      qwarden watches a qmail queue. It sees a storm of mail or bounces begin, says what it is and who is behind it, keeps the sender out, \
      sets the storm's mail aside without stopping qmail, and can put every message back.

      "qwarden run" is the daemon, see qwarden-run(8); what it may do is in the policy, see qwarden-policy(5). The other commands are the \
      administrator's hands. They work while qmail runs.

      Times are in UTC, such as 2026-11-24T21:32:00Z; in JSON they are seconds since 1970, but for an event's until.
      """)
    page.section("Commands")
    for command in tree.commands {
      page.subsection("qwarden \(command.name) \(calls(command))")
      page.paragraphs("\(command.abstract)\n\n\(ownWords(command))")
      for argument in particular(command) { add(argument, to: &page) }
      for inner in command.commands {
        page.paragraphs("\(command.name) \(inner.name): \(inner.abstract)\n\n\(inner.discussion)")
        for argument in particular(inner) { add(argument, to: &page) }
      }
    }
    page.section("Common options")
    page.paragraphs("Every command but demo takes these, as far as they mean something to it.")
    for argument in CommandTree.places { add(argument, to: &page) }
    for argument in tree.arguments { add(argument, to: &page) }
    page.section("Selection")
    page.paragraphs("SELECTION says which messages a command is about.")
    page.paragraphs(SelectionOptions.patternHelp)
    for argument in CommandTree.selection { add(argument, to: &page) }
    page.section("JSON")
    page.paragraphs(
      """
      With --json a command prints one object a line, in UTF-8; text that is none is taken for Latin-1. Fields may be added, and those named here \
      keep their names and meanings. What is not known is null or left out.
      """)
    for (commands, fields) in json { page.item(commands, fields) }
    page.section("Exit status")
    for (code, meaning) in exits { page.item(String(code), meaning) }
    page.section("Environment")
    page.item("NO_COLOR", "When set and not empty, no colours unless --color always is given.")
    page.item("SUDO_USER, LOGNAME, USER", "The name that is noted beside what was done by hand.")
    page.section("Files")
    for (path, meaning) in files { page.item(path, meaning) }
    page.section("Examples")
    for (meaning, lines) in examples {
      page.paragraphs(meaning)
      page.example(lines)
    }
    page.section("See also")
    page.paragraphs(
      "qwarden-policy(5), qwarden-run(8), qmail-qstat(8), qmail-qread(8), qmail-send(8), qmail-smtpd(8), journalctl(1)"
    )
    return page.text
  }

  /// Its discussion without what is said under "Selection".
  private static func ownWords(_ command: CommandTree) -> String {
    command.discussion.replacing(SelectionOptions.patternHelp, with: "")
  }

  /// What is its own, without what stands under "Common options" and "Selection".
  static func particular(_ command: CommandTree) -> [CommandTree.Argument] {
    let common = CommandTree.places + (takesSelection(command) ? CommandTree.selection : [])
    return command.own.filter { !common.contains($0) }
  }

  private static func takesSelection(_ command: CommandTree) -> Bool {
    command.arguments.contains { $0.names == ["--double-bounces"] }
  }

  private static func calls(_ command: CommandTree) -> String {
    if !command.commands.isEmpty { return "<command>" }
    let own = particular(command)
    let places = own.filter { $0.kind == .positional }.map { argument in
      argument.isOptional ? "[\(argument.usage)]" : argument.usage
    }
    let options = own.contains { $0.kind != .positional } ? ["[options]"] : []
    return ((takesSelection(command) ? ["[SELECTION]"] : []) + places + options)
      .joined(separator: " ")
  }

  static func add(_ argument: CommandTree.Argument, to page: inout Roff) {
    var body = argument.abstract
    if !argument.values.isEmpty, argument.kind == .option {
      body += " One of: \(argument.values.joined(separator: ", "))."
    }
    // Its value may be left out, which is all that its initial one is for; the parser does not tell.
    let isBare = argument.names == ["--wait"]
    if let initial = argument.initial, !initial.isEmpty, !isBare { body += " Default: \(initial)." }
    if argument.isRepeating, argument.kind == .option { body += " May be given more than once." }
    page.item(
      argument.kind == .positional ? argument.usage : argument.names.joined(separator: ", "),
      body,
      value: argument.kind != .option
        ? nil : isBare ? "[\(argument.valueName)]" : argument.valueName)
  }

  /// What objects hold. A test compares it with what is printed.
  static let json: [(String, String)] = [
    (
      "list",
      """
      id, birth, size, sender, source (via, and what is known of client, user, helo, uid, original), list, local and remote (address, done \
      of each recipient), unrouted while it is in todo, bouncing, unprocessed; with --headers also from, to, cc, subject, date. \
      With --count-by the key's value under its name and messages, or recipients.
      """
    ),
    (
      "show",
      """
      That of list with --headers; header (name, value of each field), parts (number, type, name, size, attachment, text, cut), and \
      quarantine where it is set aside.
      """
    ),
    (
      "quarantined",
      """
      id, birth, state (intended, copied, marked, gone: out of the queue and kept; releasing, release-in-doubt, released, expiring, \
      expired, abandoned), incident, sender, source, size, recipients, in_doubt, subject, set_aside, expires, note.
      """
    ),
    (
      "blocks",
      "address, state, created, expires, incident or by, reason; removed, removed_by, removed_why."
    ),
    (
      "incidents",
      """
      incident, kind, began, last_seen, ended, offenders (type, value), victims, messages, recipients, recipient_domains, failed, \
      delivered, waiting, samples, reason. One in full also has evidence (measure, found, against), advice (lever, sentence, line), \
      actions (t, action, value, outcome, times, why, undo), set_aside, and timeline (t, waiting, leaving, messages, failed, delivered, \
      set_aside).
      """
    ),
    (
      "replay",
      """
      t, event, incident; of storm-began, storm-changed and storm-ended kind, offenders, victims, reason; of an action its name (alert, \
      block, quarantine) as action, value or id and birth, done (false where a guard or observe mode holds the hand), and why.
      """
    ),
    (
      "run",
      "t, event, priority, message, advice, and the journal fields of qwarden-run(8) in lower case without QWARDEN_."
    ),
  ]

  /// The contract of ``Exit``.
  static let exits: [(Int32, String)] = [
    (0, "Done."),
    (
      Exit.nothingMatched,
      "Nothing matched, or the answer was no, and nothing has been changed. Of check-queue: something is wrong in the queue, or still is."
    ),
    (Exit.usage, "The command line cannot be understood."),
    (
      Exit.badData,
      "A file that was given or kept holds no data of the right kind, or an address cannot be blocked."
    ),
    (
      Exit.noQueue,
      "There is no queue there, no daemon, or no qmail-send; of check-queue --mend: there is one."
    ),
    (Exit.cannotCreate, "A file cannot be made, or another qwarden does this already."),
    (Exit.inputOutput, "Reading or writing failed."),
    (Exit.tryAgain, "Not done, or not certainly done; an order given again may get it."),
    (Exit.noPermission, "This user may not do that: run it as root."),
    (Exit.badPolicy, "The policy has errors; each one is printed with its place."),
  ]

  static let files: [(String, String)] = [
    ("/etc/qwarden/policy.yaml", "What qwarden may do: qwarden-policy(5)."),
    ("/var/lib/qwarden/ledger.sqlite", "Incidents, blocks, what is in quarantine, what was done."),
    ("/var/lib/qwarden/quarantine", "Copies of the messages set aside, mode 0600."),
    ("/var/lib/qwarden/history", "What the daemon saw, a trace an hour, for \"qwarden replay\"."),
    ("/var/lib/qwarden/lost+found", "What \"qwarden check-queue --mend\" took out of the queue."),
    ("/var/lib/qwarden/status.json", "How the daemon stood, for status when none answers."),
    ("/var/lib/qwarden/socket", "Where the daemon answers status, top and explain, mode 0600."),
    ("/var/qmail/queue", "The queue that is watched."),
    ("/var/qmail/control/badmailfrom", "Where blocks are written, in a section of their own."),
  ]

  private static let examples: [(String, [String])] = [
    (
      "Who sends, where to, and what is old:",
      [
        "qwarden list --count-by sender",
        "qwarden list --count-by recipient-domain --older-than 2h",
        "qwarden list --older-than 3d --headers",
      ]
    ),
    (
      "A flood with a subject, from one network, looked at first:",
      [
        "qwarden list --subject '*cheap pills*' --client 192.0.2.0/24 --count",
        "qwarden list --subject '/pills|v[i1]agra/i' --headers | less",
      ]
    ),
    (
      "What the daemon set aside in incident 3, and back with it:",
      [
        "qwarden incidents 3", "qwarden quarantined --incident 3",
        "qwarden release --incident 3 --dry-run", "qwarden release --incident 3",
      ]
    ),
    (
      "Keep a sender out for two days, and let it in again:",
      [
        "qwarden block alice@example.com --for 2d --reason 'password stolen'",
        "qwarden unblock alice@example.com",
      ]
    ),
    (
      "A page about incident 3 for those who were not there:",
      ["qwarden incidents 3 --html incident-3.html"]
    ),
    ("Is anything wrong in the queue?", ["qwarden check-queue"]),
  ]
}
