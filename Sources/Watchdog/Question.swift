import Files
import Foundation
import Glibc

/// What a command may ask the running daemon. The one place that knows how a question looks on the wire: one JSON object, such as
/// `{"top":{"rows":20}}`.
public enum Question: Codable, Sendable, Hashable {
  /// How things stand, with at most so many senders and sources: one ``TopReport``.
  case top(rows: Int)
  /// How somebody or a message stands (``Subject``): the lines of an ``ExplanationReport``, or one JSON object.
  case explain(String, asJSON: Bool)
}

/// Asks the daemon of a state directory over its socket.
///
/// One connection a question: a JSON line goes in, the answer's lines come out, and the daemon closes.
public struct Daemon: Sendable {
  /// Why there is no answer.
  public struct NoAnswer: Error, CustomStringConvertible {
    public enum Kind: Sendable {
      /// Nobody serves this state directory.
      case absent
      case forbidden
      /// The daemon said that it cannot answer this, or what came is no answer.
      case refused
      /// It is there, but did not answer in time.
      case silent
    }
    public var kind: Kind
    public var description: String
  }

  private let path: String
  private let patience: Duration

  /// - Parameters:
  ///   - state: its state directory.
  ///   - patience: how long a question waits: the daemon may be in the middle of its first look at a large queue.
  public init(state: String, patience: Duration = .seconds(10)) {
    path = QuestionServer.path(state: state)
    self.patience = patience
  }

  /// Asks, and reads an answer of one line.
  public func ask<Answer: Decodable>(_ question: Question, as: Answer.Type = Answer.self)
    throws(NoAnswer) -> Answer
  {
    guard let line = try lines(question).first else {
      throw NoAnswer(kind: .silent, description: "\(path): the daemon gave no answer")
    }
    do { return try JSONDecoder().decode(Answer.self, from: Data(line)) } catch {
      throw NoAnswer(
        kind: .refused,
        description:
          "\(path): the daemon is of another version than this command; restart it with 'systemctl restart qwarden'"
      )
    }
  }

  /// Asks, and returns the answer's lines.
  public func lines(_ question: Question) throws(NoAnswer) -> [ArraySlice<UInt8>] {
    let answer: [UInt8]
    do throws(FileError) {
      let socket = try UnixSocket.connect(to: path, patience: patience)
      let asked = ((try? JSONEncoder().encode(question)).map(Array.init) ?? []) + [0x0A]
      try UnixSocket.send(asked, to: socket)
      answer = try UnixSocket.receive(
        from: socket, limit: QuestionServer.longestAnswer + (64 << 10))
    } catch {
      throw NoAnswer(error)
    }
    // Cut off: the daemon stopped, or gave up on us.
    guard answer.last == 0x0A else {
      throw NoAnswer(kind: .silent, description: "\(path): the daemon broke off its answer")
    }
    let lines = answer.split(separator: 0x0A)
    if let refusal = lines.first.flatMap({
      try? JSONDecoder().decode(QuestionServer.Refusal.self, from: Data($0))
    }) {
      throw NoAnswer(kind: .refused, description: refusal.error)
    }
    return lines
  }
}

extension Daemon.NoAnswer {
  fileprivate init(_ error: FileError) {
    switch error.code {
    case ENOENT, ENOTDIR, ECONNREFUSED:
      kind = .absent
      description =
        "\(error.path): no daemon answers here; start it with 'systemctl start qwarden', or say with --state where it keeps its state"
    case EACCES, EPERM:
      kind = .forbidden
      description =
        "\(error.path): only root and the daemon's own user may ask it; use sudo"
    case EAGAIN:
      kind = .silent
      description = "\(error.path): the daemon is too busy to answer; ask again in a while"
    default:
      kind = .silent
      description = error.description
    }
  }
}
