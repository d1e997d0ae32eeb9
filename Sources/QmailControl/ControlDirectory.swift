import Files
import Mail

/// qmail's `control/` directory, read the way qmail-send and qmail-smtpd read it (qmail-control(5), control.c).
public struct ControlDirectory: Sendable {
  /// `QMAIL/control`.
  public let path: String

  /// - Parameter qmail: qmail's home, usually `/var/qmail`.
  public init(qmail: String) { path = "\(qmail)/control" }

  /// The largest control file that is read, in bytes.
  static let limit = 64 << 20

  /// Reads the files anew.
  /// - Throws: when the directory is missing, or a file is there and cannot be read. A missing file has qmail's default.
  public func read() throws(ControlError) -> ControlSnapshot {
    do {
      guard try FileStatus.of(path, following: true).isDirectory else {
        throw ControlError(path, "is not a directory", exitCode: Exit.noQueue)
      }
    } catch let error as FileError {
      throw ControlError(
        path, String(error.description.dropFirst(path.count + 2)),
        remedy: error.isMissing ? "give qmail's home with --qmail" : nil,
        exitCode: error.isPermission ? Exit.noPermission : Exit.noQueue)
    } catch let error as ControlError {
      throw error
    } catch {
      throw ControlError(path, "\(error)", exitCode: Exit.noQueue)
    }

    var notes: [String] = []
    let me = try file("me").map { Domain(bytes: ControlText.firstLine($0)) } ?? Domain("")
    if me.isEmpty {
      notes.append("\(path)/me is missing or empty: qmail-smtpd does not run without it")
    }
    let locals = try domains("locals", &notes)
    var rcpthosts = try domains("rcpthosts", &notes)
    if try exists("morercpthosts.cdb") {
      let more = try domains("morercpthosts", &notes)
      rcpthosts = (rcpthosts ?? []).union(more ?? [])
      notes.append(
        more == nil
          ? "\(path)/morercpthosts.cdb is not read, and its source morercpthosts is missing: "
            + "its domains are not known as this server's own"
          : "\(path)/morercpthosts.cdb is not read; its source morercpthosts is taken instead")
    }
    let virtualdomains = try virtualdomains(&notes)
    if let catchAll = virtualdomains[Address("")], !catchAll.isNull {
      notes.append("\(path)/virtualdomains gives the mail for all other domains to \(catchAll)")
    }
    let bounceTo =
      try file("doublebounceto").map { Array(ControlText.firstLine($0)) }
      ?? Array("postmaster".utf8)
    let bounceHost =
      try file("doublebouncehost").map { Array(ControlText.firstLine($0)) } ?? Array(me.text.utf8)
    return ControlSnapshot(
      me: me, locals: locals ?? [me], rcpthosts: rcpthosts ?? [], virtualdomains: virtualdomains,
      doubleBounceRecipient: Address(bounceTo + [UInt8(ascii: "@")] + bounceHost), notes: notes)
  }

  /// The file's bytes, nil when there is none. Symbolic links are followed, as qmail follows them.
  private func file(_ name: String) throws(ControlError) -> [UInt8]? {
    do {
      let file = try Descriptor.open("\(path)/\(name)", [.read, .following])
      guard try file.status().isRegular else {
        throw ControlError(
          "\(path)/\(name)", "is not a file; qmail cannot read it", exitCode: Exit.badData)
      }
      return try file.readAll(limit: Self.limit)
    } catch let error as ControlError {
      throw error
    } catch let error as FileError {
      if error.isMissing { return nil }
      throw ControlError(error)
    } catch {
      throw ControlError("\(path)/\(name)", "\(error)", exitCode: Exit.badData)
    }
  }

  private func exists(_ name: String) throws(ControlError) -> Bool {
    do {
      _ = try FileStatus.of("\(path)/\(name)", following: true)
      return true
    } catch {
      if error.isMissing { return false }
      throw ControlError(error)
    }
  }

  private func lines(_ name: String, _ notes: inout [String]) throws(ControlError)
    -> [ControlText.Line]?
  {
    guard let bytes = try file(name) else { return nil }
    let lines = ControlText.lines(bytes)
    if let bad = lines.first(where: { $0.bytes.last == UInt8(ascii: "\r") }) {
      notes.append(
        "\(path)/\(name):\(bad.number): ends in CR (DOS line ends): qmail takes the CR as part of the name"
      )
    }
    return lines
  }

  private func domains(_ name: String, _ notes: inout [String]) throws(ControlError)
    -> Set<Domain>?
  {
    try lines(name, &notes).map { Set($0.map { Domain(bytes: $0.bytes) }) }
  }

  private func virtualdomains(_ notes: inout [String]) throws(ControlError) -> [Address: Address] {
    var map: [Address: Address] = [:]
    for line in try lines("virtualdomains", &notes) ?? [] {
      guard let colon = line.bytes.firstIndex(of: UInt8(ascii: ":")) else {
        notes.append(
          "\(path)/virtualdomains:\(line.number): has no colon: qmail-send passes it over")
        continue
      }
      // The last of equal keys wins (constmap.c chains new ones in front).
      map[Address(line.bytes[..<colon]).lowercased] = Address(line.bytes[(colon + 1)...])
    }
    return map
  }
}
