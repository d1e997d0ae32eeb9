import Glibc

/// A systemd of its own as process 1 of new namespaces, in a root that is an overlay of this machine's on a tmpfs: nothing it does
/// reaches the machine, and nothing is left when it has ended.
final class BootedSystem {
  private static let programs = [
    "/lib/systemd/systemd", "/lib/systemd/systemd-journald", "/usr/bin/unshare",
    "/usr/bin/nsenter", "/usr/bin/timeout", "/usr/bin/make", "/usr/bin/systemd-sysusers",
    "/usr/bin/systemd-tmpfiles",
  ]

  /// Debug or release: what lies beside the test program.
  private static let binary: String = {
    guard let found = realpath("/proc/self/exe", nil) else { return "" }
    defer { free(found) }
    let path = String(cString: found)
    return path.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" } + "/qwarden"
  }()

  /// The cgroup v2 tree, alone or beside v1.
  private static let cgroups = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].first {
    exists("\($0)/cgroup.procs") && exists("\($0)/cgroup.controllers")
  }

  /// What all need: namespaces, each but that of users.
  private static let unshare = [
    "/usr/bin/unshare", "--fork", "--pid", "--mount", "--uts", "--ipc", "--net",
    "--propagation", "private", "--kill-child=SIGKILL",
  ]

  /// Why there can be none here; nil when there can.
  static let obstacle: String? = {
    guard geteuid() == 0 else { return "needs root, for namespaces and mounts of its own" }
    if let missing = programs.first(where: { !exists($0) }) { return "there is no \(missing)" }
    guard exists(binary) else { return "qwarden is not built: there is no \(binary)" }
    guard let cgroups else { return "no cgroup v2 here" }
    let cgroup = "\(cgroups)/qwarden-probe-\(getpid())"
    guard mkdir(cgroup, 0o755) == 0 else { return "no cgroup can be made in \(cgroups)" }
    rmdir(cgroup)
    let probe = """
      mount -t tmpfs tmpfs /mnt && mkdir /mnt/u /mnt/w /mnt/r &&
      mount -t overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w overlay /mnt/r &&
      mount -t cgroup2 cgroup2 /mnt/u && mknod /mnt/r/tmp/null c 1 3
      """
    let command = unshare + ["/bin/sh", "-c", probe]
    guard let pid = try? spawn(command), wait(for: pid) == 0 else {
      return "no namespaces, overlay or cgroup mounts are allowed here"
    }
    return nil
  }()

  /// Makes the root, installs qwarden in it with `make install`, and becomes systemd. Arguments: repository, binary, cgroup.
  private static let setUp = """
    set -e
    echo $$ >"$3/cgroup.procs"
    exec unshare --cgroup /bin/sh -e -c '
    B=/mnt; R=$B/root
    mount -t tmpfs -o size=1g tmpfs $B
    mkdir $B/upper $B/work $R $B/install
    mount -t overlay -o lowerdir=/,upperdir=$B/upper,workdir=$B/work overlay $R
    # make install takes the binary from the place where make build leaves it.
    cp -r "$1/Makefile" "$1/systemd" "$1/config" $B/install
    mkdir -p $B/install/.build/release-static/release
    cp "$2" $B/install/.build/release-static/release/qwarden
    rm -rf $R/var/lib/qwarden $R/etc/qwarden $R/etc/systemd/system/qwarden.service*
    make -s -C $B/install install DESTDIR=$R
    # A debug build has its libraries elsewhere.
    mkdir -p $R/usr/lib/qwarden-test
    ldd "$2" | sed -n "s/.*=> \\(.*\\) (0x.*/\\1/p" | grep -v -E "^(/usr)?/lib" |
      xargs -r -I{} cp -L {} $R/usr/lib/qwarden-test/
    mkdir -p $R/mnt/old
    mount -t proc proc $R/proc
    mount -t sysfs -o ro sysfs $R/sys
    mount -t cgroup2 cgroup2 $R/sys/fs/cgroup
    for d in dev run var/log; do mount -t tmpfs -o mode=755 tmpfs $R/$d; done
    mount -t tmpfs -o mode=1777 tmpfs $R/tmp
    mkdir -p $R/var/qmail
    mount -t tmpfs -o mode=755 tmpfs $R/var/qmail
    cd $R/dev
    mknod -m 666 null c 1 3; mknod -m 666 zero c 1 5; mknod -m 666 full c 1 7
    mknod -m 666 random c 1 8; mknod -m 666 urandom c 1 9; mknod -m 666 tty c 5 0
    mkdir shm pts mqueue hugepages
    ln -s pts/ptmx ptmx
    ln -s /proc/self/fd fd
    touch console
    mount -t devpts -o newinstance,ptmxmode=666 devpts pts
    U=$R/run/systemd/system; mkdir -p $U/qwarden.service.d
    # Only what the test wants, nothing of the machine.
    for u in sysinit.target basic.target; do
      printf "[Unit]\\nDefaultDependencies=no\\n" >$U/$u
    done
    printf "[Unit]\\nDefaultDependencies=no\\nWants=systemd-journald.service\\n" >$U/lab.target
    printf "[Service]\\nWatchdogSec=6s\\nRestartSec=200ms\\nEnvironment=LD_LIBRARY_PATH=/usr/lib/qwarden-test\\n" >$U/qwarden.service.d/test.conf
    mkdir $U/qwarden-badmailfrom@.service.d
    printf "[Service]\\nEnvironment=LD_LIBRARY_PATH=/usr/lib/qwarden-test\\n" >$U/qwarden-badmailfrom@.service.d/test.conf
    cd $R
    pivot_root . mnt/old
    umount -l /mnt/old
    exec env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=lab.target
    ' sh "$1" "$2"
    """

  private let folder: String
  private let cgroup: String
  private let outer: pid_t
  /// Its process 1, as seen from here.
  let pid: pid_t
  /// Its root, as seen from here.
  var root: String { "/proc/\(pid)/root" }

  /// Boots; at most ten seconds. It ends with this object, and in any case after two minutes.
  /// - Parameter folder: for its own files.
  init(folder: String) throws {
    self.folder = folder
    let log = "\(folder)/log"
    guard let cgroups = Self.cgroups else { throw LabError("cgroup", code: ENOENT) }
    cgroup = "\(cgroups)/qwarden-test-\(getpid())"
    guard mkdir(cgroup, 0o755) == 0 else { throw LabError(cgroup) }
    let output = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    defer { close(output) }
    outer = try spawn(
      ["/usr/bin/timeout", "--signal=KILL", "120"] + Self.unshare
        + ["/bin/sh", "-c", Self.setUp, "sh", repository, Self.binary, cgroup], output: output)
    var found: pid_t = 0
    for _ in 0..<500 {
      usleep(20_000)
      // timeout, unshare, and its child.
      guard let unshare = Self.child(of: outer), let first = Self.child(of: unshare) else {
        continue
      }
      if (try? text(of: "/proc/\(first)/comm")) == "systemd\n" {
        found = first
        break
      }
    }
    pid = found
    guard found != 0 else {
      end()
      throw LabError("boot: \((try? text(of: log)) ?? "")", code: ETIMEDOUT)
    }
    for _ in 0..<250 {
      if (try? inside("systemctl", "is-active", "lab.target"))?.status == 0 { return }
      usleep(20_000)
    }
    end()
    throw LabError("lab.target", code: ETIMEDOUT)
  }

  private static func child(of pid: pid_t) -> pid_t? {
    (try? text(of: "/proc/\(pid)/task/\(pid)/children"))?.split(separator: " ").first.flatMap {
      pid_t($0)
    }
  }

  /// Runs a program inside, as root.
  @discardableResult
  func inside(_ arguments: String...) throws -> (status: Int32, output: String) {
    try inside(arguments)
  }

  @discardableResult
  func inside(_ arguments: [String]) throws -> (status: Int32, output: String) {
    let log = "\(folder)/inside"
    let output = open(log, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
    defer {
      close(output)
      unlink(log)
    }
    let program = try spawn(
      // The outer time limit is for a system that has just ended: entering it may hang.
      ["/usr/bin/timeout", "--signal=KILL", "30", "/usr/bin/nsenter", "-t", "\(pid)"]
        + ["-m", "-p", "-u", "-i", "-n", "-C", "timeout", "20"] + arguments, output: output)
    let status = wait(for: program)
    return (status, try text(of: log))
  }

  /// A property of qwarden's unit.
  func property(_ name: String) throws -> String {
    let said = try inside("systemctl", "show", "-p", name, "--value", "qwarden").output
    return said.hasSuffix("\n") ? String(said.dropLast()) : said
  }

  /// The line of a file of /proc for qwarden's process, without its key.
  func ofProcess(_ key: String) throws -> String? {
    let status = try inside("cat", "/proc/\(try property("MainPID"))/status").output
    return status.split(separator: "\n").first { $0.hasPrefix("\(key):") }
      .map { String($0.dropFirst(key.utf8.count + 1).drop { $0 == "\t" }) }
  }

  /// Ends all of it. Its children die with process 1, its mounts with the last of them.
  func end() {
    if pid != 0 { kill(pid, SIGKILL) }
    if let unshare = Self.child(of: outer) { kill(unshare, SIGKILL) }
    wait(for: outer)
    for _ in 0..<100 {
      _ = try? run("/usr/bin/find", cgroup, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";")
      if !exists(cgroup) { return }
      usleep(20_000)
    }
  }
}
