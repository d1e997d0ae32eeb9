import ArgumentParser
import Mail

/// A command as its own help describes it: read from what ArgumentParser tells of it, so that page and help cannot disagree.
struct CommandTree: Sendable {
  struct Argument: Sendable, Hashable {
    enum Kind: String { case positional, option, flag }
    var kind: Kind
    /// As typed: `-h`, `--help`; none for a positional one.
    var names: [String]
    var valueName: String
    var abstract: String
    var isOptional: Bool
    var isRepeating: Bool
    var initial: String?
    var values: [String]

    /// `--color <when>`, `--json`, `<id> ...`
    var usage: String {
      switch kind {
      case .positional: "<\(valueName)>\(isRepeating ? " ..." : "")"
      case .flag: names.last ?? ""
      case .option: "\(names.last ?? "") <\(valueName)>"
      }
    }
  }

  var name: String
  var abstract: String
  var discussion: String
  var arguments: [Argument]
  var commands: [CommandTree]

  /// Hidden commands and options are left out.
  static var qwarden: CommandTree? { CommandTree(dump: Qwarden._dumpHelp()) }

  /// The conditions of SELECTION, and the options that every command has.
  static var selection: [Argument] { CommandTree(dump: SelectionOptions._dumpHelp())?.own ?? [] }
  static var places: [Argument] { CommandTree(dump: Places._dumpHelp())?.own ?? [] }

  /// Without --help and --version, which every command has.
  var own: [Argument] {
    arguments.filter { !$0.names.contains("--help") && !$0.names.contains("--version") }
  }

  init?(dump: String) {
    guard let value = try? JSONValue(Array(dump.utf8)[...]), let command = value["command"] else {
      return nil
    }
    self.init(command)
  }

  private init(_ value: JSONValue) {
    name = value["commandName"]?.string ?? ""
    abstract = value["abstract"]?.string ?? ""
    discussion = value["discussion"]?.string ?? ""
    func shown(_ key: String) -> [JSONValue] {
      (value[key]?.array ?? []).filter { $0["shouldDisplay"]?.bool ?? true }
    }
    arguments = shown("arguments").compactMap(Argument.init)
    commands = shown("subcommands").map { CommandTree($0) }.filter { $0.name != "help" }
  }
}

extension CommandTree.Argument {
  fileprivate init?(_ value: JSONValue) {
    guard let kind = (value["kind"]?.string).flatMap(Kind.init(rawValue:)) else { return nil }
    self.kind = kind
    names = (value["names"]?.array ?? []).compactMap { name in
      (name["name"]?.string).map { name["kind"]?.string == "long" ? "--\($0)" : "-\($0)" }
    }.sorted { $0.utf8.count < $1.utf8.count }
    valueName = value["valueName"]?.string ?? ""
    abstract = value["abstract"]?.string ?? ""
    isOptional = value["isOptional"]?.bool ?? false
    isRepeating = value["isRepeating"]?.bool ?? false
    initial = value["defaultValue"]?.string
    values = (value["allValues"]?.array ?? []).compactMap(\.string)
  }
}
