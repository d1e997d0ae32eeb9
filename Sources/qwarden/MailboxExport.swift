import Files
import Glibc
import Mail
import QmailQueue

/// Where quarantined mail is written for other programs: a new mbox file, or a Maildir.
enum MailboxFormat: Hashable {
  case mbox(String)
  case maildir(String)

  init?(_ text: String) {
    guard let colon = text.firstIndex(of: ":") else { return nil }
    let path = String(text[text.index(after: colon)...])
    if path.isEmpty { return nil }
    switch text[..<colon] {
    case "mbox": self = .mbox(path)
    case "maildir": self = .maildir(path)
    default: return nil
    }
  }
}

/// Writes messages as they stand into a mailbox. Never replaces a file.
protocol MailboxWriter: AnyObject {
  /// - Returns: false when the mailbox has the message already.
  func add(
    _ message: borrowing QuarantinedBody, from sender: Address, _ identity: EntryIdentity
  )
    throws -> Bool
  /// Makes all of it last. Without this nothing is under its name that was added since.
  func finish() throws
}

extension QuarantinedBody {
  /// Calls `take` with the message in pieces.
  fileprivate func forEachPiece(_ take: ([UInt8]) throws -> Void) throws {
    var at: Int64 = 0
    while true {
      let piece = try read(limit: 1 << 18, from: at)
      if piece.isEmpty { return }
      try take(piece)
      at += Int64(piece.count)
    }
  }
}

/// An mbox file in the `mboxrd` way: a line `From sender date` before each message, an empty one after it, and a `>` before each line of it that is
/// `From ` after any number of `>`. It gets its name only when it is whole.
final class MboxFile: MailboxWriter {
  private let path: String
  private let temporary: String
  private let file: Descriptor
  private var end: Int64 = 0
  private var isFinished = false

  init(_ path: String) throws {
    if (try? FileStatus.of(path)) != nil { throw FileError("create", path, code: EEXIST) }
    self.path = path
    temporary = "\(path).\(getpid()).new"
    file = try Descriptor.open(temporary, [.write, .create, .exclusive], mode: 0o600)
  }

  deinit { if !isFinished { unlink(temporary) } }

  func add(
    _ message: borrowing QuarantinedBody, from sender: Address, _ identity: EntryIdentity
  ) throws -> Bool {
    var quoting = MboxQuoting()
    try write(Self.separator(sender, identity.birth))
    var end = end
    try message.forEachPiece { piece in
      let bytes = quoting.take(piece)
      try file.write(bytes, at: end)
      end += Int64(bytes.count)
    }
    self.end = end
    try write(quoting.finish())
    return true
  }

  func finish() throws {
    try file.sync()
    // link(2) and not rename(2): it never replaces what has come there meanwhile.
    guard link(temporary, path) == 0 else { throw FileError("create", path) }
    unlink(temporary)
    isFinished = true
  }

  private func write(_ bytes: [UInt8]) throws {
    try file.write(bytes, at: end)
    end += Int64(bytes.count)
  }

  /// `From sender Tue Nov 24 22:04:02 2026`, as qmail-local writes it: no blank in the sender, MAILER-DAEMON for none.
  static func separator(_ sender: Address, _ moment: Timestamp) -> [UInt8] {
    let name =
      sender.bytes.isEmpty
      ? Array("MAILER-DAEMON".utf8)
      : sender.bytes.map { $0 <= 32 || $0 == 127 ? UInt8(ascii: "-") : $0 }
    var time = time_t(moment.nanoseconds / 1_000_000_000)
    var parts = tm()
    gmtime_r(&time, &parts)
    var text = [CChar](repeating: 0, count: 64)
    let length = strftime(&text, text.count, "%a %b %e %H:%M:%S %Y", &parts)
    return Array("From ".utf8) + name + [32] + text[..<length].map { UInt8(bitPattern: $0) } + [10]
  }
}

/// Puts the `>` before lines that would begin a message, whatever pieces the message comes in.
struct MboxQuoting {
  private static let mark = Array("From ".utf8)
  /// The beginning of a line that may still turn out to be one.
  private var held: [UInt8] = []
  /// How much of `From ` has been seen in it, past any `>`; nil: the line is none.
  private var matched: Int? = 0

  mutating func take(_ piece: [UInt8]) -> [UInt8] {
    var out: [UInt8] = []
    out.reserveCapacity(piece.count + 16)
    for byte in piece {
      if let seen = matched {
        held.append(byte)
        if byte == Self.mark[seen] {
          matched = seen + 1
          if seen + 1 < Self.mark.count { continue }
          out.append(UInt8(ascii: ">"))
        } else if seen == 0, byte == UInt8(ascii: ">"), held.count < 1000 {
          continue
        }
        out += held
        held.removeAll(keepingCapacity: true)
        matched = byte == 10 ? 0 : nil
      } else {
        out.append(byte)
        if byte == 10 { matched = 0 }
      }
    }
    return out
  }

  /// What is held, the message's last line ended, and an empty line.
  mutating func finish() -> [UInt8] {
    let isAtLineStart = matched == 0 && held.isEmpty
    return held + (isAtLineStart ? [10] : [10, 10])
  }
}

/// A Maildir, made where there is none. Messages are written under `tmp` and get their place in `new` when they are on the disk, a batch at a
/// time; the name is made of the message's number and birth, so that it is there once however often it is exported.
final class MaildirFolder: MailboxWriter {
  private static let batch = 64
  private let path: String
  private let folder: Descriptor
  private let host: String
  private var waiting: [String] = []

  init(_ path: String) throws {
    try Folder.make(path)
    for part in ["tmp", "new", "cur"] { try Folder.make("\(path)/\(part)") }
    self.path = path
    folder = try Descriptor.open(path, [.directory, .following])
    var name = [CChar](repeating: 0, count: 256)
    gethostname(&name, name.count - 1)
    let text = name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
    host = String(
      decoding: text.map { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: ":") ? 45 : $0 },
      as: UTF8.self)
  }

  deinit { for name in waiting { unlink("\(path)/tmp/\(name)") } }

  func add(
    _ message: borrowing QuarantinedBody, from sender: Address, _ identity: EntryIdentity
  ) throws -> Bool {
    let (seconds, rest) = identity.birth.nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
    let name = "\(seconds).N\(rest)Q\(identity.id).\(host)"
    if (try? FileStatus.of("\(path)/new/\(name)")) != nil { return false }
    // Left by an export that was cut off.
    unlink("\(path)/tmp/\(name)")
    let file = try Descriptor.open(
      "\(path)/tmp/\(name)", [.write, .create, .exclusive], mode: 0o600)
    waiting.append(name)
    var end: Int64 = 0
    try message.forEachPiece { piece in
      try file.write(piece, at: end)
      end += Int64(piece.count)
    }
    if waiting.count >= Self.batch { try finish() }
    return true
  }

  func finish() throws {
    if waiting.isEmpty { return }
    try folder.syncFilesystem()
    for name in waiting {
      let (old, new) = ("\(path)/tmp/\(name)", "\(path)/new/\(name)")
      guard link(old, new) == 0 || errno == EEXIST else { throw FileError("create", new) }
      unlink(old)
    }
    waiting = []
    try Descriptor.open("\(path)/new", .directory).sync()
  }
}
