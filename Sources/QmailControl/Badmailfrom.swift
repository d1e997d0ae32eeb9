import Files
import Glibc

/// control/badmailfrom: qwarden's own lines in a file that belongs to the administrator.
///
/// qmail-smtpd reads it once a connection, so a replacement works at once; where it cannot read it, it answers 421 to
/// everybody, so owner and mode are kept and whatever is out of the ordinary is refused.
public struct Badmailfrom: Sendable {
  public let path: String
  /// nil: unknown; the file may be read but is never written.
  public let dialect: BadmailfromDialect?

  /// The longest file that is edited, in bytes: beyond it qmail-smtpd spends a second on each connection.
  static let limit = 8 << 20
  /// How often an edit starts over because the administrator was faster.
  static let attempts = 5

  /// - Parameter control: the control directory, usually `/var/qmail/control`.
  public init(control: String, dialect: BadmailfromDialect?) {
    path = "\(control)/badmailfrom"
    self.dialect = dialect
  }

  /// Reads the file; a missing one is empty.
  public func contents() throws(BadmailfromError) -> BadmailfromContents {
    BadmailfromContents(try look()?.bytes ?? [], path: path)
  }

  /// Makes `ownLines` qwarden's lines, exactly these in this order, and leaves every byte of the administrator's as it is.
  ///
  /// The file is replaced by rename, with its owner and mode, after a last look: if the administrator has changed it meanwhile,
  /// everything starts over from the new bytes; and an editor that has it open for writing would write into the old file, so it is
  /// waited for. Who came between the look and the rename is found by a second look, and the old file put back. A missing file is
  /// created with mode 0644 and the directory's owner; it stays, empty, when the last line goes.
  /// - Returns: whether the file changed; when nothing would change, nothing is written.
  @discardableResult
  public func replace(ownLines: [OwnLine]) throws(BadmailfromError) -> Bool {
    try replace(ownLines: ownLines, beforeLastLook: {})
  }

  func replace(
    ownLines: [OwnLine], beforeLastLook: () -> Void, beforeSecondLook: () -> Void = {}
  ) throws(BadmailfromError) -> Bool {
    guard let dialect else {
      throw BadmailfromError(
        .unknownDialect, path, "cannot tell how this qmail-smtpd reads it, so it is not edited",
        remedy: "name the dialect in the policy: blocking: dialect: "
          + BadmailfromDialect.allCases.map(\.rawValue).joined(separator: "|"))
    }
    var lines: [(line: OwnLine, entry: [UInt8])] = []
    for line in ownLines {
      do throws(UnblockableSender) {
        lines.append((line, try dialect.entry(for: line.sender)))
      } catch {
        throw BadmailfromError(.unblockable, path, "\(error)")
      }
    }
    var refusal: LastLook?
    for _ in 0..<Self.attempts {
      let old = try look()
      try check(old)
      let bytes = BadmailfromText(old?.bytes ?? []).replacing(lines)
      if bytes == old?.bytes ?? [] { return false }
      guard bytes.count <= Self.limit else { throw tooLong }
      refusal = try replace(old, by: bytes, beforeLastLook, beforeSecondLook)
      if refusal == nil { return true }
      // To save in place takes no longer; a file that stays open is left to its editor.
      if refusal == .beingWritten { usleep(30_000) }
    }
    if refusal == .beingWritten {
      throw BadmailfromError(
        .busy, path, "is open for writing in another program, and what that writes would be lost",
        remedy:
          "close the editor; the daemon tries again by itself, a command has to be given again")
    }
    throw BadmailfromError(
      .busy, path, "was changed by somebody else \(Self.attempts) times during the edit",
      remedy:
        "it is left as it is; the daemon tries again by itself, a command has to be given again")
  }

  /// - Returns: what the last look found to be in the way; nil when it is replaced.
  private func replace(
    _ old: Found?, by bytes: [UInt8], _ beforeLastLook: () -> Void,
    _ beforeSecondLook: () -> Void
  ) throws(BadmailfromError) -> LastLook? {
    // Closed after the rename: until then whoever opens the old file for writing waits, and it is the old one that they get. Not a
    // part of the loop above: in a loop's body Swift 6.3 never ends the life of such a `let x = try?`, and the file stays open.
    let held = try? Descriptor.open(path)
    do throws(ReplacementError<LastLook>) {
      try write(bytes, over: old) { () throws(LastLook) in
        if held?.isBeingWritten() == true { throw .beingWritten }
        beforeLastLook()
        let now: Found?
        do throws(BadmailfromError) { now = try look() } catch { throw .failed(error) }
        guard now == old else { throw .changed }
        if held?.isBeingWritten() == true { throw .beingWritten }
      } secondLook: { (displaced) throws(LastLook) in
        beforeSecondLook()
        guard displaced.inode == old?.status.inode else { throw .changed }
        // Whoever found the old file by its name before that was taken from it is about to open it, within microseconds.
        usleep(1000)
        if held?.isBeingWritten() == true { throw .beingWritten }
        if let now = try? held?.readAll(limit: Self.limit), now != old?.bytes { throw .changed }
      }
      return nil
    } catch {
      switch error {
      case .refused(.failed(let failure)): throw failure
      case .refused(let refusal): return refusal
      case .file(let failure): throw BadmailfromError(failure)
      }
    }
  }

  private enum LastLook: Error, Equatable {
    case changed
    case beingWritten
    case failed(BadmailfromError)
  }

  /// The file as it was found.
  private struct Found: Equatable {
    var status: FileStatus
    var bytes: [UInt8]
  }

  /// The file's bytes and status; nil when there is none.
  private func look() throws(BadmailfromError) -> Found? {
    do {
      let status = try FileStatus.of(path)
      if status.isSymbolicLink {
        throw BadmailfromError(
          .unfit, path, "is a symbolic link; replacing it would cut the link",
          remedy: "make it a file of its own, or block by hand where the link leads")
      }
      guard status.isRegular else {
        throw BadmailfromError(
          .unfit, path, "is not a file; qmail-smtpd answers 421 to everybody",
          remedy: "remove it")
      }
      let file = try Descriptor.open(path)
      return Found(status: try file.status(), bytes: try file.readAll(limit: Self.limit))
    } catch let error as BadmailfromError {
      throw error
    } catch let error as FileError {
      if error.isMissing { return nil }
      if error.isTooLong { throw tooLong }
      throw BadmailfromError(error)
    } catch {
      throw BadmailfromError(.unfit, path, "\(error)")
    }
  }

  /// Refuses what cannot be replaced without harm.
  private func check(_ found: Found?) throws(BadmailfromError) {
    if (try? FileStatus.of("\(path).cdb", following: true)) != nil {
      throw BadmailfromError(
        .unfit, path,
        "is compiled into \(path).cdb, which is read first and is not kept up to date",
        remedy: "edit the source of the .cdb, or remove it when nothing reads it")
    }
    guard let found else { return }
    let status = found.status
    if status.links > 1 {
      throw BadmailfromError(
        .unfit, path, "has \(status.links) hard links; replacing it would part them",
        remedy: "make it a file of its own")
    }
    // qmail-smtpd never runs as root, so a bit for an owner or group other than root may be the one it needs.
    let readable =
      status.mode & 0o004 != 0 || (status.mode & 0o040 != 0 && status.gid != 0)
      || (status.mode & 0o400 != 0 && status.uid != 0)
    if !readable {
      throw BadmailfromError(
        .unfit, path,
        "mode \(String(status.permissions, radix: 8)) hides it from qmail-smtpd, which then answers 421 to everybody",
        remedy: "chmod 644 \(path)")
    }
    if found.bytes.contains(0) {
      throw BadmailfromError(
        .unfit, path, "holds NUL bytes, which split a line in two for qmail-smtpd",
        remedy: "remove them")
    }
  }

  private var tooLong: BadmailfromError {
    BadmailfromError(
      .unfit, path, "is longer than \(Self.limit >> 20) MiB; every SMTP connection reads it whole",
      remedy: "shorten it")
  }

  private func write(
    _ bytes: [UInt8], over old: Found?, lastLook: () throws(LastLook) -> Void,
    secondLook: (FileStatus) throws(LastLook) -> Void
  ) throws(ReplacementError<LastLook>) {
    if let status = old?.status {
      try Replacement.write(
        bytes, to: path, mode: status.permissions, owner: (status.uid, status.gid),
        lastLook: lastLook, secondLook: secondLook)
      return
    }
    let control = String(path.dropLast("/badmailfrom".count))
    let owner = try? FileStatus.of(control, following: true)
    do throws(ReplacementError<LastLook>) {
      try Replacement.write(
        bytes, to: path, mode: 0o644, owner: owner.map { ($0.uid, $0.gid) }, lastLook: lastLook,
        secondLook: secondLook)
    } catch {
      // Whoever owns a new file, mode 0644 lets qmail-smtpd read it.
      guard case .file(let reason) = error, reason.isPermission else { throw error }
      try Replacement.write(
        bytes, to: path, mode: 0o644, lastLook: lastLook, secondLook: secondLook)
    }
  }
}
