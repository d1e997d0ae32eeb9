import Mail

extension Entry {
  /// The `list --json` object of the manual.
  var json: JSONLine {
    var line = JSONLine()
    line.add("id", identity.id)
    line.add("birth", identity.birth.seconds)
    line.add("size", Int(size))
    line.add("sender", bytes: sender.bytes)
    line.add("source", source.json)
    line.add("list", isList)
    line.add("local", local.map(\.json))
    line.add("remote", remote.map(\.json))
    if isUnprocessed { line.add("unrouted", bytes: unrouted.map(\.bytes)) }
    line.add("bouncing", isBouncing)
    line.add("unprocessed", isUnprocessed)
    return line
  }
}

extension Recipient {
  fileprivate var json: JSONLine {
    var line = JSONLine()
    line.add("address", bytes: address.bytes)
    line.add("done", isDone)
    return line
  }
}

extension Source {
  /// `via`, and what is known of `client`, `user`, `helo`, `uid`, `original`.
  var json: JSONLine {
    var line = JSONLine()
    line.add("via", via)
    switch self {
    case .network(let client, let helo, let user):
      line.add("client", client)
      if let user { line.add("user", user) }
      if let helo { line.add("helo", helo) }
    case .uid(let uid): line.add("uid", Int(uid))
    case .bounce(let original?):
      var inner = JSONLine()
      inner.add("sender", bytes: original.sender.bytes)
      original.source.add(to: &inner)
      line.add("original", inner)
    case .bounce(nil), .alias, .unknown: break
    }
    return line
  }

  private func add(to line: inout JSONLine) {
    line.add("via", via)
    if case .network(let client, let helo, let user) = self {
      line.add("client", client)
      if let user { line.add("user", user) }
      if let helo { line.add("helo", helo) }
    } else if case .uid(let uid) = self {
      line.add("uid", Int(uid))
    }
  }
}
