import ArgumentParser
import Files
import Fixtures
import Glibc
import Mail
import Policy
import Response
import Storms
import Systemd
import Testing

@testable import Ledger
@testable import qwarden

@Suite struct ManualTests {
  /// The text of a page without its escapes, on one line.
  private func plain(_ section: Int) throws -> String {
    var text = try Manual.page(section)
    for (escape, plain) in [
      ("\\-", "-"), ("\\(aq", "'"), ("\\(dq", "\""), ("\\fB", ""), ("\\fI", ""), ("\\fR", ""),
      ("\\e", "\\"),
    ] {
      text = text.replacing(escape, with: plain)
    }
    return text.replacing("\n", with: " ")
  }

  @Test(
    "each command's name is written down: to make it of the type's takes a millisecond at each start"
  )
  func names() {
    let configuration = Qwarden.configuration
    let commands =
      configuration.subcommands + configuration.groupedSubcommands.flatMap(\.subcommands)
    #expect(commands.count > 12)
    for command in commands { #expect(command.configuration.commandName != nil, "\(command)") }
  }

  @Test("qwarden(1) has every command, option and condition with its text, and nothing hidden")
  func commands() throws {
    let page = try plain(1)
    let tree = try #require(CommandTree.qwarden)
    #expect(tree.commands.count > 12)
    func check(_ command: CommandTree) {
      for argument in command.arguments {
        for name in argument.names { #expect(page.contains(name), "\(command.name) \(name)") }
        if argument.kind == .positional { #expect(page.contains(argument.usage)) }
        #expect(page.contains(argument.abstract), "\(command.name) \(argument.names)")
      }
    }
    for command in tree.commands {
      #expect(page.contains("qwarden \(command.name)"))
      #expect(page.contains(command.abstract))
      check(command)
      command.commands.forEach(check)
    }
    #expect(page.contains("check-queue") && page.contains("--double-bounces"))
    #expect(page.contains("--wait [seconds]") && !page.contains("Default: 60."))
    #expect(!page.contains("simulated-qmail") && !page.contains("qwarden manual 1"))
    for code in [0, 1, 64, 65, 69, 73, 74, 75, 77, 78] { #expect(page.contains(".TP \(code) ")) }
  }

  /// The keys of an object and of all within it.
  private func keys(_ value: JSONValue) -> Set<String> {
    switch value {
    case .object(let members): members.reduce(into: []) { $0.formUnion([$1.key] + keys($1.value)) }
    case .array(let values): values.reduce(into: []) { $0.formUnion(keys($1)) }
    default: []
    }
  }

  @Test("qwarden(1) names every field that list, quarantined and incidents print as JSON")
  func fields() throws {
    let birth = Timestamp(seconds: 1)
    let entries = try SampleQueue().messages(born: birth).map(\.entry)
    var facts = QuarantineRecord.Facts()
    facts.subject = [65]
    let record = QuarantineRecord(
      id: 1, identity: EntryIdentity(id: 1, birth: birth), state: .gone, facts: facts,
      intended: birth, expires: birth, note: "x", released: 0)
    let storm = Storm(
      incident: 1, kind: .relaySender, began: birth, lastSeen: birth,
      offenders: [.sender(Address("a@b"))])
    for (command, lines) in [
      ("list", entries.map(\.json)), ("quarantined", [record.json]), ("incidents", [storm.json]),
    ] {
      // A source is described with list.
      let texts = CommandsPage.json.filter { $0.0 == command || $0.0 == "list" }.map(\.1)
      let words = Set(
        texts.joined(separator: " ").split { !$0.isLetter && $0 != "_" }.map(String.init))
      for line in lines {
        for key in keys(try JSONValue(line.closed[...])) where !words.contains(key) {
          Issue.record("\(command): \(key)")
        }
      }
    }
  }

  @Test("qwarden-policy(5) has every setting with what it takes, its default and a sentence")
  func policy() throws {
    let page = try plain(5)
    for setting in PolicySetting.all {
      #expect(setting.explanation.count > 15, "\(setting.name)")
      #expect(!setting.initial.isEmpty, "\(setting.name)")
      let key = setting.name.split(separator: ".").last.map(String.init) ?? ""
      #expect(page.contains(".TP \(key): \(setting.explanation)"), "\(setting.name)")
      #expect(page.contains(setting.expected), "\(setting.name)")
    }
  }

  @Test("the defaults that the manual names are those of an empty policy")
  func defaults() throws {
    var text = ""
    var section: String?
    for setting in PolicySetting.all {
      let parts = setting.name.split(separator: ".").map(String.init)
      if parts.count == 2, parts[0] != section {
        section = parts[0]
        text += "\(parts[0]):\n"
      }
      text += "\(parts.count == 2 ? "  " : "")\(parts[parts.count - 1]): \(setting.initial)\n"
    }
    #expect(try PolicyFile.parse(Array(text.utf8), path: "manual") == Policy())
  }

  @Test("qwarden-run(8) has every event with its MESSAGE_ID, every journal field and every guard")
  func daemon() throws {
    let page = try plain(8)
    for id in MessageID.allCases {
      #expect(page.contains(".TP \(id.rawValue) ") && page.contains("MESSAGE_ID=\(id.id)"))
    }
    for field in JournalField.Name.allCases { #expect(page.contains(".TP \(field.rawValue) ")) }
    for each in Guard.allCases { #expect(page.contains(".TP \(each.rawValue) ")) }
    for signal in ["SIGTERM", "SIGHUP", "SIGUSR1"] { #expect(page.contains(signal)) }
  }

  @Test("completions know every command and option", arguments: CompletionShell.allCases)
  func completions(shell: CompletionShell) throws {
    let script = Qwarden.completionScript(for: shell)
    for command in try #require(CommandTree.qwarden).commands {
      #expect(script.contains(command.name))
      for name in command.arguments.compactMap(\.names.last) {
        #expect(script.contains(name.drop { $0 == "-" }), "\(shell.rawValue) \(name)")
      }
    }
    #expect(!script.contains("simulated-qmail"))
  }

  @Test("no text of the help can become a macro or an escape")
  func escapes() {
    #expect(Roff.escaped(".so /etc/passwd") == "\\&.so /etc/passwd")
    #expect(Roff.escaped("'x' \\n a-b\u{2026}\n.c\u{7}") == "\\&\\(aqx\\(aq \\en a\\-b\\[u2026] .c")
  }

  private static let formatter: String? =
    ["/usr/bin/groff", "/usr/local/bin/groff"].first { (path: String) in access(path, X_OK) == 0 }

  @Test(
    "groff formats the pages without a warning", .enabled(if: formatter != nil, "no groff here"),
    arguments: [1, 5, 8])
  func formats(section: Int) throws {
    let groff = try #require(Self.formatter)
    let folder = TemporaryFolder()
    let (page, complaints) = ("\(folder.path)/page", "\(folder.path)/complaints")
    try Replacement.write(Array(try Manual.page(section).utf8), to: page, mode: 0o644)
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 2, complaints, O_WRONLY | O_CREAT, 0o600)
    let call: [String] = [groff, "-man", "-ww", "-Tutf8", page]
    var words: [UnsafeMutablePointer<CChar>?] = call.map { strdup($0) }
    words.append(nil)
    defer { for word in words { free(word) } }
    var child: pid_t = 0
    try #require(posix_spawn(&child, groff, &actions, nil, &words, environ) == 0)
    var status: Int32 = 0
    waitpid(child, &status, 0)
    let said = try Descriptor.open(complaints).readAll(limit: 1 << 16)
    #expect(status == 0 && said.isEmpty, "\(String(decoding: said, as: UTF8.self))")
  }
}
