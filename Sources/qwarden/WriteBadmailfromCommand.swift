import ArgumentParser
import Files
import Glibc
import QmailControl
import Response

/// What `qwarden-badmailfrom@.service` runs for each request of the daemon's, on a socket as standard input and output.
struct WriteBadmailfrom: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "write-badmailfrom",
    abstract: "Write qwarden's lines into badmailfrom for the daemon; systemd runs it.",
    shouldDisplay: false)

  @OptionGroup var places: Places

  func run() throws {
    let talk = Descriptor(owning: fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3), path: "the request")
    let request = try UnixSocket.receive(
      from: talk, until: BadmailfromScribe.end, limit: BadmailfromScribe.longest)
    let policy = try places.readPolicy()
    let control = try ControlDirectory(qmail: places.qmail).read()
    let dialect = Responder.dialect(policy, qmail: places.qmail)
    let badmailfrom = Badmailfrom(control: "\(places.qmail)/control", dialect: dialect)
    let answer = BadmailfromScribe.answer(request, for: badmailfrom) { entry in
      Responder.mistake(
        in: entry, policy: policy, control: control, dialect: dialect, at: WallClock.now())
    }
    try UnixSocket.send(answer, to: talk)
  }
}
