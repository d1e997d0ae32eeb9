import Mail
import Yams

/// Walks the nodes of a policy and collects everything that is wrong with it.
struct PolicyReader {
  let path: String
  /// First occurrences of keys that stand twice, renamed by ``PolicyText``.
  let duplicates: [Place: String]
  private(set) var errors: [PolicyError] = []
  /// Where each value stands, for the checks of one against another.
  private(set) var places: [String: Place] = [:]

  init(path: String, duplicates: [Place: String]) {
    self.path = path
    self.duplicates = duplicates
    for (place, name) in duplicates {
      fail(
        place,
        "the key '\(Escaping.terminal(name))' stands twice in this section; keep one of them")
    }
  }

  mutating func fail(_ place: Place, _ message: String) {
    errors.append(
      PolicyError(path: path, line: place.line, column: place.column, message: message))
  }

  mutating func read(_ root: Node) -> Policy {
    var policy = Policy()
    let fields = PolicyField.all
    guard case .mapping(let mapping) = root else {
      fail(Place(root.mark), "expected sections such as 'mode: observe', found \(root.spoken)")
      return policy
    }
    let sections = Set(fields.compactMap(\.section))
    let top = fields.filter { $0.section == nil }
    for (key, value) in mapping {
      guard let name = name(of: key) else { continue }
      if let field = top.first(where: { $0.key == name }) {
        take(field, value, at: key, &policy)
      } else if sections.contains(name) {
        read(section: name, value, fields, &policy)
      } else {
        unknown(name, at: key, in: nil, fields)
      }
    }
    check(policy)
    return policy
  }

  private mutating func read(
    section: String, _ node: Node, _ fields: [PolicyField], _ policy: inout Policy
  ) {
    // A section whose lines are all commented out.
    if node.isNothing { return }
    guard case .mapping(let mapping) = node else {
      fail(Place(node.mark), "expected the settings of '\(section)', found \(node.spoken)")
      return
    }
    for (key, value) in mapping {
      guard let name = name(of: key) else { continue }
      if let field = fields.first(where: { $0.section == section && $0.key == name }) {
        take(field, value, at: key, &policy)
      } else {
        unknown(name, at: key, in: section, fields)
      }
    }
  }

  private mutating func take(
    _ field: PolicyField, _ value: Node, at key: Node, _ policy: inout Policy
  ) {
    places[field.name] = Place(value.mark)
    if value.isNothing {
      fail(Place(key.mark), "'\(field.key)' has no value; expected \(field.expected)")
      return
    }
    for problem in field.take(value, &policy) { fail(problem.place, problem.message) }
  }

  private mutating func name(of key: Node) -> String? {
    let place = Place(key.mark)
    if let name = duplicates[place] { return name }
    guard case .scalar(let scalar) = key else {
      fail(place, "expected a key, found \(key.spoken)")
      return nil
    }
    return scalar.string
  }

  private mutating func unknown(
    _ name: String, at key: Node, in section: String?, _ fields: [PolicyField]
  ) {
    let here =
      section.map { section in fields.filter { $0.section == section }.map(\.key) }
      ?? NearestKey.unique(fields.map { $0.section ?? $0.key })
    let shown = Escaping.terminal(name)
    if let near = NearestKey.of(name, among: here) {
      fail(Place(key.mark), "unknown key '\(shown)', did you mean '\(near)'?")
    } else if let elsewhere = fields.first(where: { $0.key == name }) {
      let home = elsewhere.section.map { "under '\($0)'" } ?? "at the left margin, in no section"
      fail(Place(key.mark), "the key '\(shown)' belongs \(home)")
    } else {
      fail(Place(key.mark), "unknown key '\(shown)'; known here: \(here.joined(separator: ", "))")
    }
  }

  /// One value against another.
  private mutating func check(_ policy: Policy) {
    let rules: [(holds: Bool, Set<String>, message: String)] = [
      (
        policy.polling.storm <= policy.polling.normal, ["polling.storm", "polling.normal"],
        "polling during a storm (\(policy.polling.storm.text)) must not be slower than normal polling (\(policy.polling.normal.text))"
      ),
      (
        policy.polling.fullPass >= policy.polling.normal, ["polling.full-pass", "polling.normal"],
        "a full pass (\(policy.polling.fullPass.text)) must not come more often than normal polling (\(policy.polling.normal.text))"
      ),
      (
        policy.blocking.longest >= policy.blocking.duration,
        ["blocking.longest", "blocking.duration"],
        "the longest block (\(policy.blocking.longest.text)) must not be shorter than the first (\(policy.blocking.duration.text))"
      ),
    ]
    for rule in rules where !rule.holds {
      // The later one is what was written last.
      if let place = rule.1.compactMap({ places[$0] }).max() { fail(place, rule.message) }
    }
  }
}

extension Node {
  /// What stands there, for "expected …, found …".
  var spoken: String {
    switch self {
    case .mapping: "a section"
    case .sequence: "a list"
    case .alias: "an alias"
    case .scalar(let scalar):
      isNothing
        ? "nothing"
        : scalar.style == .plain
          ? "'\(Escaping.terminal(scalar.string))'"
          : "the text \"\(Escaping.terminal(scalar.string))\""
    }
  }

  /// A key without a value, or YAML's word for nothing.
  var isNothing: Bool {
    guard case .scalar(let scalar) = self, scalar.style == .plain else { return false }
    return ["", "~", "null", "Null", "NULL"].contains(scalar.string)
  }
}
