import Files
import Mail

/// The one who writes badmailfrom for a daemon that may not: a program that systemd starts for each request, with no right but that
/// on `control/`, and that knows nothing of mail.
///
/// A request is the file's path, then qwarden's lines as their tags say them, then `end`: a cut one is not taken for a shorter list. The
/// answer is `changed`, `unchanged`, or a ``BadmailfromError``: its kind, message and remedy, a line each.
public struct BadmailfromScribe: Sendable {
  /// Where `qwarden-badmailfrom.socket` listens.
  public static let usualSocket = "/run/qwarden-badmailfrom.socket"
  /// More blocks than any policy's caps give in the time of a block; whoever asks for more is not our daemon.
  public static let mostLines = 1000
  public static let longest = 1 << 20
  /// How a request ends.
  public static let end = Array("\nend\n".utf8)
  /// The program must be started first.
  static let patience = Duration.seconds(10)

  private let socket: String

  /// - Returns: nil when nobody offers it here.
  public init?(at socket: String) {
    guard (try? FileStatus.of(socket)) != nil else { return nil }
    self.socket = socket
  }

  // MARK: The daemon's side

  /// As ``Badmailfrom/replace(ownLines:)``, done by the scribe.
  @discardableResult
  public func replace(ownLines: [OwnLine], in badmailfrom: Badmailfrom) throws(BadmailfromError)
    -> Bool
  {
    let answer: [UInt8]
    do throws(FileError) {
      let talk = try UnixSocket.connect(to: socket, patience: Self.patience)
      try UnixSocket.send(Self.request(ownLines, badmailfrom.path), to: talk)
      answer = try UnixSocket.receive(from: talk, limit: Self.longest)
    } catch {
      throw BadmailfromError(
        .unwritable, badmailfrom.path, "cannot be written by this user, and \(error)",
        remedy: "see journalctl -u 'qwarden-badmailfrom*'")
    }
    return try Self.read(answer, badmailfrom.path)
  }

  static func request(_ lines: [OwnLine], _ path: String) -> [UInt8] {
    Array(([Array(path.utf8)] + lines.map(\.tag)).joined(separator: [0x0A])) + end
  }

  static func read(_ answer: [UInt8], _ path: String) throws(BadmailfromError) -> Bool {
    let words = answer.split(separator: 0x0A, omittingEmptySubsequences: false).map {
      String(decoding: $0, as: UTF8.self)
    }
    if words == ["changed", ""] { return true }
    if words == ["unchanged", ""] { return false }
    guard words.count == 4, let kind = BadmailfromError.Kind(rawValue: words[0]) else {
      throw BadmailfromError(
        .unwritable, path, "no answer came from the one who writes it",
        remedy: "see journalctl -u 'qwarden-badmailfrom*'")
    }
    throw BadmailfromError(kind, path, words[1], remedy: words[2].isEmpty ? nil : words[2])
  }

  // MARK: The scribe's side

  /// Does what a request asks, within bounds that hold whoever asks: only this file, only qwarden's lines, at most ``mostLines``, and no
  /// new one that `objection` (of the policy's guards) is against.
  public static func answer(
    _ request: [UInt8], for badmailfrom: Badmailfrom, objection: (Address) -> String?
  ) -> [UInt8] {
    do throws(BadmailfromError) {
      let lines = try lines(of: request, for: badmailfrom)
      let present = Set(try badmailfrom.contents().ownLines.map(\.sender))
      for line in lines where !present.contains(line.sender) {
        if let why = objection(line.sender) {
          throw BadmailfromError(.unblockable, badmailfrom.path, why)
        }
      }
      return Array((try badmailfrom.replace(ownLines: lines) ? "changed\n" : "unchanged\n").utf8)
    } catch {
      let words = [error.kind.rawValue, error.message, error.remedy ?? ""]
      return words.flatMap { $0.utf8.map { $0 == 0x0A ? 0x20 : $0 } + [0x0A] }
    }
  }

  private static func lines(of request: [UInt8], for badmailfrom: Badmailfrom)
    throws(BadmailfromError) -> [OwnLine]
  {
    func refusal(_ why: String) -> BadmailfromError {
      BadmailfromError(.unfit, badmailfrom.path, "the request \(why), so nothing was done")
    }
    guard request.suffix(end.count).elementsEqual(end) else { throw refusal("is cut off") }
    let lines = request.dropLast(end.count).split(
      separator: 0x0A, omittingEmptySubsequences: false)
    guard let path = lines.first, path.elementsEqual(badmailfrom.path.utf8) else {
      throw refusal("is for another file")
    }
    guard lines.count <= mostLines + 1 else { throw refusal("has more than \(mostLines) lines") }
    var found: [OwnLine] = []
    for line in lines.dropFirst() {
      guard let line = OwnLine(tag: line) else { throw refusal("has a line that is none of ours") }
      found.append(line)
    }
    return found
  }
}
