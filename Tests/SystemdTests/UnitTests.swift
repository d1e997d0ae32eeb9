import Testing

private let analyze = "/usr/bin/systemd-analyze"

private let units = ["qwarden.service", "qwarden-badmailfrom@.service"]

@Suite struct UnitTests {
  /// The units in a folder of their own, with a program that exists here in qwarden's place.
  private func withUnits<T>(_ body: (String) throws -> T) throws -> T {
    try withTemporaryFolder { folder in
      for unit in units + ["qwarden-badmailfrom.socket"] {
        let parts = try text(of: "\(repository)/systemd/\(unit)")
          .split(separator: "/usr/bin/qwarden", omittingEmptySubsequences: false)
        try write(parts.joined(separator: "/bin/true"), to: "\(folder)/\(unit)")
      }
      return try body(folder)
    }
  }

  @Test(
    "systemd finds nothing wrong with the units",
    .enabled(if: exists(analyze), "no systemd-analyze"))
  func verify() throws {
    try withUnits { folder in
      let names = ["qwarden.service", "qwarden-badmailfrom.socket", "qwarden-badmailfrom@.service"]
      let result = try run(
        analyze, "verify", "--man=no", "\(folder)/\(names[0])", "\(folder)/\(names[1])",
        "\(folder)/\(names[2])")
      #expect(result.status == 0)
      #expect(result.output.isEmpty, "\(String(decoding: result.output, as: UTF8.self))")
    }
  }

  @Test(
    "the sandbox leaves an exposure of at most 0.5, for the part that may write control/ too",
    .enabled(if: exists(analyze), "no systemd-analyze"), arguments: units)
  func exposure(unit: String) throws {
    try withUnits { folder in
      let result = try run(
        analyze, "security", "--offline=true", "--no-pager", "--threshold=5", "\(folder)/\(unit)")
      let last = String(decoding: result.output, as: UTF8.self).split(separator: "\n").last ?? ""
      #expect(last.contains("Overall exposure level"))
      #expect(result.status == 0, "\(last)")
    }
  }

  @Test("neither part has a capability, and the daemon cannot write control/")
  func narrow() throws {
    func values(_ key: String, _ unit: String) throws -> [Substring] {
      try text(of: "\(repository)/systemd/\(unit)").split(separator: "\n")
        .filter { $0.hasPrefix("\(key)=") }.map { $0.dropFirst(key.utf8.count + 1) }
    }
    for unit in units {
      #expect(try values("AmbientCapabilities", unit) == [])
      #expect(try values("CapabilityBoundingSet", unit) == [""])
    }
    #expect(try values("ReadWritePaths", units[0]) == ["-/var/qmail/queue"])
    #expect(try values("ReadWritePaths", units[1]) == ["-/var/qmail/control"])
  }

  @Test(
    "the account is made in qmail's group, whether or not that is there",
    .enabled(if: exists("/usr/bin/systemd-sysusers"), "no systemd-sysusers"),
    arguments: [true, false])
  func account(groupExists: Bool) throws {
    try withTemporaryFolder { root in
      try run("/bin/mkdir", "-p", "\(root)/etc")
      if groupExists { try write("qmail:x:64010:\n", to: "\(root)/etc/group") }
      let result = try run(
        "/usr/bin/systemd-sysusers", "--root=\(root)", "\(repository)/systemd/qwarden.sysusers")
      #expect(result.status == 0, "\(String(decoding: result.output, as: UTF8.self))")
      let group = try #require(
        try text(of: "\(root)/etc/group").split(separator: "\n").first { $0.hasPrefix("qmail:") })
      let gid = group.split(separator: ":")[2]
      if groupExists { #expect(gid == "64010") }
      let user = try text(of: "\(root)/etc/passwd").split(separator: "\n").map {
        $0.split(separator: ":")
      }
      #expect(user.contains { $0[0] == "qmails" && $0[3] == gid && $0[6].hasSuffix("nologin") })
    }
  }
}
