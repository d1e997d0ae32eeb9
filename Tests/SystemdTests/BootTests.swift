import Files
import Glibc
import QmailSimulator
import Testing

/// The unit as shipped, under a real systemd. Skipped, with the reason, where none can be booted.
@Suite(.enabled(if: BootedSystem.obstacle == nil, "\(BootedSystem.obstacle ?? "")"))
struct BootTests {
  /// Waits until `condition` holds, at most so many seconds.
  private func wait(_ seconds: Double, until condition: () throws -> Bool) async rethrows -> Bool {
    let end = WallClock.monotonic() + Int64(seconds * 1e9)
    while WallClock.monotonic() < end {
      if try condition() { return true }
      try? await Task.sleep(for: .milliseconds(50))
    }
    return try condition()
  }

  @Test(
    "installed, started, flooded, reloaded, killed, hung and stopped: the service does its work inside its sandbox",
    .timeLimit(.minutes(3)))
  func life() async throws {
    let folder = try temporaryFolder()
    defer { _ = try? run("/bin/rm", "-rf", folder) }
    let system = try BootedSystem(folder: folder)
    defer { system.end() }
    let qmail = "\(system.root)/var/qmail"
    let policy = "\(system.root)/etc/qwarden/policy.yaml"
    let shipped = try text(of: policy)
    let enforcing = shipped.replacing("mode: observe", with: "mode: enforce")
      .replacing("source: auto", with: "source: none")
      .replacing("file: none", with: "file: /run/qwarden/qwarden.prom")
    #expect(enforcing != shipped)
    try write(enforcing, to: policy)

    try account(system)
    let driver = try flood(qmail, "# ours\nadmin@bad.example\n")
    try owned(system)
    let driving = Task { try await driver.run() }
    defer { driving.cancel() }
    try started(system)
    try sandboxed(system)
    // Who writes it, in a sandbox of its own, sees that another has it open.
    let editor = open("\(qmail)/control/badmailfrom", O_WRONLY)
    let isLeft = try await wait(30) {
      try system.property("StatusText").contains("is open for writing in another program")
    }
    close(editor)
    #expect(isLeft)
    let isAnswered = try await wait(30) {
      let status = try system.property("StatusText")
      let isWritten = try text(of: "\(qmail)/control/badmailfrom").contains("\n# qwarden end\n")
      return isWritten && status.contains("1 blocked;") && status.contains(" in quarantine")
    }
    let status = try system.property("StatusText")
    #expect(isAnswered, "\(status)")
    let blocked = try text(of: "\(qmail)/control/badmailfrom")
    #expect(blocked.hasPrefix("# ours\nadmin@bad.example\n# qwarden begin\n"))
    // Written for the daemon, which may not, and root's as before.
    let owner = try system.inside("stat", "-c", "%U %a", "/var/qmail/control/badmailfrom").output
    #expect(owner == "root 644\n")
    try reloaded(system, policy: policy, good: enforcing)
    try await restarted(system)
    #expect(try text(of: "\(qmail)/control/badmailfrom") == blocked)
    try written(system)
    let top = try system.inside("qwarden", "top", "--once")
    #expect(top.status == 0 && top.output.contains("blocks 1"), "\(top.output)")
    let metrics = try system.inside("cat", "/run/qwarden/qwarden.prom").output
    #expect(metrics.contains("\nqwarden_blocks 1\n"), "\(metrics)")
    let begun = WallClock.monotonic()
    let stop = try system.inside("systemctl", "stop", "qwarden")
    let took = Double(WallClock.monotonic() - begun) / 1e9
    #expect(stop.status == 0, "\(stop.output)")
    #expect(took < 2)
    #expect(try system.property("ActiveState") == "inactive")
    #expect(try system.property("Result") == "success")
    driving.cancel()
    try await driving.value
  }

  private func temporaryFolder() throws -> String {
    let path = "/tmp/qwarden-boot-\(getpid())"
    guard mkdir(path, 0o700) == 0 else { throw LabError(path) }
    return path
  }

  /// What `make install` does where a systemd runs.
  private func account(_ system: BootedSystem) throws {
    for command in [
      ["systemd-sysusers", "qwarden.conf"], ["systemd-tmpfiles", "--create", "qwarden.conf"],
      ["journalctl", "--update-catalog"], ["systemctl", "daemon-reload"],
    ] {
      let result = try system.inside(command)
      #expect(result.status == 0, "\(command): \(result.output)")
    }
  }

  private func flood(_ qmail: String, _ badmailfrom: String) throws -> sending TrafficDriver {
    let simulated = try SimulatedQmail.create(at: qmail)
    try write(badmailfrom, to: "\(qmail)/control/badmailfrom")
    return TrafficDriver(
      simulated,
      traffic: Traffic(.hijackedAccount, messages: 600, perSecond: 30, start: .seconds(2), seed: 8),
      clock: WallClock.now)
  }

  /// As instcheck.c has it: qmail-send's own directories, and those of qmail-queue, which others may only read.
  private func owned(_ system: BootedSystem) throws {
    let script = """
      cd /var/qmail/queue && useradd -r -g qmail qmailq 2>&1
      chown -R qmailq:qmail . && chown -R qmails:qmail info local remote bounce lock/sendmutex lock/trigger
      """
    let result = try system.inside("sh", "-c", script)
    #expect(result.status == 0, "\(result.output)")
  }

  private func started(_ system: BootedSystem) throws {
    let start = try system.inside("systemctl", "start", "qwarden")
    let told = try system.inside("journalctl", "--no-pager", "-n", "30").output
    #expect(start.status == 0, "\(told)")
    #expect(try system.property("SubState") == "running")
    let status = try system.inside("systemctl", "status", "--no-pager", "qwarden").output
    #expect(status.contains("Status: \"enforce: "), "\(status)")
  }

  private func sandboxed(_ system: BootedSystem) throws {
    for set in ["CapEff", "CapBnd", "CapAmb"] {
      #expect(try system.ofProcess(set) == "0000000000000000")
    }
    #expect(try system.ofProcess("NoNewPrivs") == "1")
    #expect(try system.ofProcess("Seccomp") == "2")
    let pid = try system.property("MainPID")
    let mounts = try system.inside("cat", "/proc/\(pid)/mounts").output.split(separator: "\n")
    // A later mount on the same place hides the earlier.
    var options: [Substring: [Substring]] = [:]
    for mount in mounts.map({ $0.split(separator: " ") }) {
      options[mount[1]] = mount[3].split(separator: ",")
    }
    let writable = options.filter { $0.value.contains("rw") }
    let places = Set(writable.keys.filter { !$0.hasPrefix("/proc") && !$0.hasPrefix("/dev/") })
    #expect(
      places == [
        "/tmp", "/var/tmp", "/var/lib/qwarden", "/run/qwarden", "/var/qmail/queue",
      ])
    for place in places.union(["/dev/shm"]) {
      #expect(writable[place]?.contains("noexec") == true, "\(place)")
    }
    let network = try system.inside("cat", "/proc/\(pid)/net/dev").output
    #expect(network.split(separator: "\n").count == 3, "only lo: \(network)")
  }

  private func reloaded(_ system: BootedSystem, policy: String, good: String) throws {
    let pid = try system.property("MainPID")
    try write(good.replacing("mode: enforce", with: "mode: enforse"), to: policy)
    #expect(try system.inside("systemctl", "reload", "qwarden").status != 0)
    #expect(try system.property("ActiveState") == "active")
    #expect(try system.property("StatusText").hasPrefix("enforce: "))
    try write(good, to: policy)
    let reload = try system.inside("systemctl", "reload", "qwarden")
    #expect(reload.status == 0, "\(reload.output)")
    #expect(try system.property("ActiveState") == "active")
    #expect(try system.property("MainPID") == pid)
  }

  /// Killed, then hung: each time systemd starts another.
  private func restarted(_ system: BootedSystem) async throws {
    for signal in ["KILL", "STOP"] {
      // A machine that stands still for seconds may have made the watchdog start it anew before.
      let restarts = Int(try system.property("NRestarts")) ?? 0
      let pid = try system.property("MainPID")
      // None runs at the moment: kill(1) would stop its own process group, and the test with it for ever.
      try #require(pid != "0")
      #expect(try system.inside("kill", "-\(signal)", pid).status == 0)
      let isBack = try await wait(60) {
        try (Int(system.property("NRestarts")) ?? 0) > restarts
          && system.property("SubState") == "running" && system.property("MainPID") != pid
      }
      #expect(isBack, "after SIG\(signal)")
      #expect(try system.property("StatusText").hasPrefix("enforce: "))
    }
  }

  private func written(_ system: BootedSystem) throws {
    try system.inside("journalctl", "--sync")
    let explained = try system.inside("journalctl", "--no-pager", "-x", "-u", "qwarden").output
    for text in [
      "Subject: A mail storm began: relay-sender", "Subject: Sender alice@mx.test blocked",
      "messages quarantined", "Subject: Policy reloaded", "Watchdog timeout",
    ] {
      #expect(explained.contains(text), "\(text)")
    }
    let fields = try system.inside(
      "journalctl", "--no-pager", "-o", "export", "QWARDEN_EVENT=started")
    let entries = JournalEntry.parse(export: Array(fields.output.utf8))
    // Once, and after each restart; a machine that stands still may have caused more of these.
    #expect(entries.count == 1 + (Int(try system.property("NRestarts")) ?? 0))
    for entry in entries {
      #expect(entry.text("_SYSTEMD_UNIT") == "qwarden.service")
      #expect(entry.text("QWARDEN_MODE") == "enforce")
      #expect(entry.text("QWARDEN_PATH") == "/var/qmail/queue")
    }
  }
}
