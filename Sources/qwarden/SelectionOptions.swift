import ArgumentParser
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
  @Option(help: ArgumentHelp("The Subject, any part of it.", valueName: "pattern"))
  var subject: [String] = []
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
  @Flag(help: "With local recipients still to be tried.")
  var local = false
  @Flag(help: "With remote recipients still to be tried.")
  var remote = false
  @Option(help: ArgumentHelp("Messages of this incident.", valueName: "number"))
  var incident: Int?
  @Flag(help: "All messages.")
  var all = false

  /// - Throws: a usage error that names the condition that cannot be read.
  func selection() throws -> Selection {
    var selection = Selection()
    selection.ids = Set(ids)
    selection.senders = try patterns(sender)
    selection.recipients = try patterns(recipient)
    selection.subjects = try patterns(subject)
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
