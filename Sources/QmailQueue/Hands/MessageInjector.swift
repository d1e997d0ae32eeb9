import CLinux
import Files
import Glibc
import Mail

/// Puts messages back into the queue through `bin/qmail-queue`, the only way that qmail offers (qmail-queue(8)).
public struct MessageInjector: Sendable {
  /// Longest address that qmail-queue takes, in bytes (its ADDR, less the NUL).
  public static let longestAddress = 1002
  let program: String

  /// - Parameter qmail: qmail's home, as `/var/qmail`.
  public init(qmail: String) { program = "\(qmail)/bin/qmail-queue" }

  /// Starts qmail-queue and gives it the message and all of the envelope but the last byte. Should this process die now, qmail-queue
  /// finds the envelope cut off, exits 54 and queues nothing. Record ``Injection/pid`` durably, then ``Injection/commit(within:)``.
  ///
  /// qmail-queue puts one line `Received: (qmail PID invoked by uid U); date` before the message and changes nothing else. It is started
  /// without a shell, with an empty environment, no descriptor of ours and a process group of its own.
  /// - Parameters:
  ///   - message: a plain file, handed over as it is and read from `start` on.
  ///   - limit: how long qmail-queue may take to read what it is given.
  public func start(
    _ message: borrowing Descriptor, at start: Int64 = 0, from sender: Address,
    to recipients: [Address], within limit: Duration = .seconds(120)
  ) throws(InjectionError) -> Injection {
    let envelope = try Self.envelope(from: sender, to: recipients)
    var ends: [Int32] = [-1, -1]
    // A socket pair and not a pipe: send(2) can be told to raise no SIGPIPE.
    guard
      socketpair(
        AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &ends) == 0
    else { throw notStarted(errno) }
    let ours = Descriptor(owning: ends[0], path: program)
    let theirs = Descriptor(owning: ends[1], path: program)
    lseek(message.number, off_t(start), SEEK_SET)
    let injection = Injection(
      pid: try spawn(input: message.number, envelope: theirs.number), socket: ours)
    _ = consume theirs  // or we would never see that the child has closed its end
    do throws(SendFailure) {
      try injection.send(envelope.dropLast(), until: .now + limit)
    } catch {
      let result = injection.cancel()
      if error == .timeout { throw .tooSlow(seconds: limit.inSeconds) }
      throw .ended(result)
    }
    return injection
  }

  /// `F<sender>\0T<recipient>\0…\0` (qmail-queue(8)).
  static func envelope(from sender: Address, to recipients: [Address]) throws(InjectionError)
    -> [UInt8]
  {
    if recipients.isEmpty { throw .noRecipients }
    var bytes: [UInt8] = []
    for (letter, address) in [(UInt8(ascii: "F"), sender)]
      + recipients.map({ (UInt8(ascii: "T"), $0) })
    {
      if address.bytes.contains(0) { throw .badAddress("\(address): an address cannot hold a NUL") }
      if address.bytes.count > longestAddress {
        throw .badAddress(
          "an address of \(address.bytes.count) bytes is longer than qmail's \(longestAddress)")
      }
      bytes.append(letter)
      bytes += address.bytes
      bytes.append(0)
    }
    return bytes + [0]
  }

  private func spawn(input: Int32, envelope: Int32) throws(InjectionError) -> Int32 {
    // Copies above 2, so that one dup2 in the child cannot overwrite the other's source.
    let input = Descriptor(owning: fcntl(input, F_DUPFD_CLOEXEC, 3), path: program)
    let envelope = Descriptor(owning: fcntl(envelope, F_DUPFD_CLOEXEC, 3), path: program)
    guard input.number >= 0, envelope.number >= 0 else { throw notStarted(errno) }
    var actions = posix_spawn_file_actions_t()
    var attributes = posix_spawnattr_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawnattr_init(&attributes)
    defer {
      posix_spawn_file_actions_destroy(&actions)
      posix_spawnattr_destroy(&attributes)
    }
    posix_spawn_file_actions_adddup2(&actions, input.number, 0)
    posix_spawn_file_actions_adddup2(&actions, envelope.number, 1)
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
    _ = clinux_spawn_close_from(&actions, 3)
    var none = sigset_t()
    var defaults = sigset_t()
    sigemptyset(&none)
    sigemptyset(&defaults)
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGALRM, SIGTERM, SIGCHLD, SIGUSR1, SIGUSR2] {
      sigaddset(&defaults, signal)
    }
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setsigdefault(&attributes, &defaults)
    posix_spawnattr_setpgroup(&attributes, 0)
    posix_spawnattr_setflags(
      &attributes,
      Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
    guard let name = strdup("qmail-queue") else { throw notStarted(ENOMEM) }
    defer { free(name) }
    let arguments: [UnsafeMutablePointer<CChar>?] = [name, nil]
    let environment: [UnsafeMutablePointer<CChar>?] = [nil]
    var pid: pid_t = 0
    let code = posix_spawn(&pid, program, &actions, &attributes, arguments, environment)
    guard code == 0 else { throw notStarted(code) }
    return pid
  }

  private func notStarted(_ code: Int32) -> InjectionError {
    .notStarted(path: program, why: String(cString: strerror(code)))
  }
}
