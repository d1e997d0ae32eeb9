import ArgumentParser
import Files
import Mail
import Selection

/// SELECTION of the manual: which messages a command is about. All conditions given must hold.
struct SelectionOptions: ParsableArguments {
  @Argument(help: ArgumentHelp("Queue numbers.", valueName: "id"))
  var ids: [UInt64] = []

  @Option(
    help: ArgumentHelp("Envelope sender; '' is the null sender of bounces.", valueName: "pattern"))
  var sender: [String] = []
  @Option(help: ArgumentHelp("An envelope recipient.", valueName: "pattern"))
  var recipient: [String] = []
  @Option(help: ArgumentHelp("The From field, any part of it.", valueName: "pattern"))
  var from: [String] = []
  @Option(help: ArgumentHelp("The To field.", valueName: "pattern"))
  var to: [String] = []
  @Option(help: ArgumentHelp("The Cc field.", valueName: "pattern"))
  var cc: [String] = []
  @Option(help: ArgumentHelp("The Subject, any part of it.", valueName: "pattern"))
  var subject: [String] = []
  @Option(
    help: ArgumentHelp(
      "A header field, such as 'X-Mailer: *bulk*'; a pattern without a name looks at every field, name and all.",
      valueName: "name: pattern"))
  var header: [String] = []
  @Option(
    help: ArgumentHelp(
      "The body, as it stands and with its text parts decoded.", valueName: "pattern"))
  var body: [String] = []
  @Option(
    help: ArgumentHelp(
      "The Date field, in UTC: '>2026-11-20', '<2026-11-20T12:00', or 2026-11-20 for that day.",
      valueName: "bound"))
  var date: [String] = []
  @Option(help: ArgumentHelp("Client address or range the message came from.", valueName: "ip[/n]"))
  var client: [String] = []
  @Option(help: ArgumentHelp("User the client authenticated as.", valueName: "pattern"))
  var user: [String] = []
  @Option(help: ArgumentHelp("Local user id that injected the message.", valueName: "uid"))
  var uid: [UInt32] = []
  @Option(
    help: ArgumentHelp("In the queue for longer, such as 90s, 30m, 12h, 7d.", valueName: "time"))
  var olderThan: String?
  @Option(help: ArgumentHelp("In the queue for less.", valueName: "time"))
  var newerThan: String?
  @Option(help: ArgumentHelp("Size, such as '>100k' or '<2M'.", valueName: "bound"))
  var size: [String] = []
  @Flag(help: "Bounces and double bounces.")
  var bounces = false
  @Flag(help: "Double bounces.")
  var doubleBounces = false
  @Flag(help: "Not taken in by qmail-send yet (in todo).")
  var unprocessed = false
  @Option(
    help: ArgumentHelp(
      "How many recipients are delivered, or failed for good.", valueName: "state"))
  var doneState: Selection.DoneState?
  @Flag(help: "With local recipients still to be tried.")
  var local = false
  @Flag(help: "With remote recipients still to be tried.")
  var remote = false
  @Option(help: ArgumentHelp("Messages of this incident.", valueName: "number"))
  var incident: Int?
  @Flag(help: "All messages.")
  var all = false

  /// How patterns are read, for the help of every command that takes a selection.
  static let patternHelp = """
    All conditions given must hold, two of the same option too ('/a|b/' takes either); of several queue numbers or uids one is enough. \
    A pattern is a literal, a glob or an expression. A literal ignores case; it must be the whole of an \
    address or user and may be any part of a header field or body. A glob has * in it and must cover the whole (of a field, or of an \
    address in From, To and Cc; of a body too). /expression/ may match anywhere; /expression/i ignores case. Header fields are looked at \
    unfolded, decoded and as they stand. '' means the null sender, or a field that is missing or empty. Matching takes time in \
    proportion to the text, whatever the pattern.
    """

  /// The selection, with the messages of `--incident` looked up in the ledger.
  func selection(_ places: Places) throws -> Selection {
    var selection = try selection()
    if let incident { selection.isMember = try IncidentMessages.test(incident, places) }
    return selection
  }

  /// - Throws: a usage error that names the condition that cannot be read.
  func selection() throws -> Selection {
    var selection = Selection()
    selection.ids = Set(ids)
    selection.senders = try patterns(sender)
    selection.recipients = try patterns(recipient)
    selection.from = try patterns(from)
    selection.to = try patterns(to)
    selection.cc = try patterns(cc)
    selection.subjects = try patterns(subject)
    selection.bodies = try patterns(body)
    selection.headers = try header.map { text in
      do throws(PatternError) { return try HeaderCondition(text) } catch {
        throw PlainFailure("--header: \(error.description)", Exit.usage)
      }
    }
    selection.dates = try date.map { text in
      guard let condition = DateCondition(text) else {
        throw PlainFailure(
          "--date \(Escaping.terminal(text)): write it like '>2026-11-20' or '<2026-11-20T12:00'",
          Exit.usage)
      }
      return condition
    }
    selection.users = try patterns(user)
    selection.uids = Set(uid)
    selection.clients = try client.map { text in
      guard let range = ClientRange(text) else {
        throw PlainFailure(
          "--client \(Escaping.terminal(text)): not an IP address or CIDR range", Exit.usage)
      }
      return range
    }
    selection.olderThan = try olderThan.map { try Self.duration($0, "--older-than") }
    selection.newerThan = try newerThan.map { try Self.duration($0, "--newer-than") }
    selection.sizes = try size.map { text in
      guard let condition = SizeCondition(text) else {
        throw PlainFailure(
          "--size \(Escaping.terminal(text)): write it like '>100k' or '<2M'", Exit.usage)
      }
      return condition
    }
    selection.isBounce = bounces
    selection.isDoubleBounce = doubleBounces
    selection.isUnprocessed = unprocessed
    selection.doneState = doneState
    selection.channels = Set((local ? [.local] : []) + (remote ? [.remote] : []))
    selection.isEverything = all
    return selection
  }

  private func patterns(_ texts: [String]) throws -> [Pattern] {
    try texts.map { text in
      do throws(PatternError) { return try Pattern(text) } catch {
        throw PlainFailure(error.description, Exit.usage)
      }
    }
  }

  static func duration(_ text: String, _ option: String) throws -> Duration {
    guard let duration = Duration(text: text) else {
      throw PlainFailure(
        "\(option) \(Escaping.terminal(text)): write it like 90s, 30m, 12h or 7d", Exit.usage)
    }
    return duration
  }
}

extension Selection.DoneState: ExpressibleByArgument {}
