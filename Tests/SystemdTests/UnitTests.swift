import Testing

private let analyze = "/usr/bin/systemd-analyze"

@Suite struct UnitTests {
  /// The unit in a folder of its own, with a program that exists here in qwarden's place.
  private func withUnit<T>(_ body: (String) throws -> T) throws -> T {
    try withTemporaryFolder { folder in
      let unit = try text(of: "\(repository)/systemd/qwarden.service")
      let parts = unit.split(separator: "/usr/bin/qwarden", omittingEmptySubsequences: false)
      #expect(parts.count > 3)
      try write(parts.joined(separator: "/bin/true"), to: "\(folder)/qwarden.service")
      return try body("\(folder)/qwarden.service")
    }
  }

  @Test(
    "systemd finds nothing wrong with the unit", .enabled(if: exists(analyze), "no systemd-analyze")
  )
  func verify() throws {
    try withUnit { unit in
      let result = try run(analyze, "verify", "--man=no", unit)
      #expect(result.status == 0)
      #expect(result.output.isEmpty, "\(String(decoding: result.output, as: UTF8.self))")
    }
  }

  @Test(
    "the sandbox leaves an exposure of at most 0.9",
    .enabled(if: exists(analyze), "no systemd-analyze"))
  func exposure() throws {
    try withUnit { unit in
      let result = try run(
        analyze, "security", "--offline=true", "--no-pager", "--threshold=9", unit)
      let last = String(decoding: result.output, as: UTF8.self).split(separator: "\n").last ?? ""
      #expect(last.contains("Overall exposure level"))
      #expect(result.status == 0, "\(last)")
    }
  }

  @Test("the log can be read wherever it is: no group is needed for it, and no path is hidden")
  func readsLogs() throws {
    let unit = try text(of: "\(repository)/systemd/qwarden.service").split(separator: "\n")
    func values(_ key: String) -> [Substring] {
      unit.filter { $0.hasPrefix("\(key)=") }.map { $0.dropFirst(key.utf8.count + 1) }
    }
    #expect(values("AmbientCapabilities") == ["CAP_DAC_OVERRIDE"])
    #expect(values("CapabilityBoundingSet") == ["CAP_DAC_OVERRIDE"])
    #expect(values("SupplementaryGroups") == [] && values("PrivateUsers") == [])
    #expect(values("InaccessiblePaths") + values("TemporaryFileSystem") == [])
    // inotify and the journal's files need no call beyond these.
    #expect(values("SystemCallFilter").first == "@system-service")
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
      #expect(user.contains { $0[0] == "qwarden" && $0[3] == gid && $0[6].hasSuffix("nologin") })
    }
  }
}
