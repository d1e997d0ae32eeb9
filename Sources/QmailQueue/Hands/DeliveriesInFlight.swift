import Files
import Glibc
import Mail

/// What qmail is delivering at this moment: one look at the processes qmail-remote and qmail-local.
///
/// Command lines are readable to any user (experiment, notqmail 1.09): `qmail-remote HOST SENDER RECIPIENT` and
/// `bin/qmail-local -- USER HOME LOCAL DASH EXT DOMAIN SENDER DEFAULT`. They do not tell the entry's number; `/proc/PID/fd/0` does, but
/// needs CAP_SYS_PTRACE. Arguments are hostile bytes, only compared.
public struct DeliveriesInFlight: Sendable {
  /// A delivery program at work, by its command line.
  public struct Delivery: Hashable, Sendable {
    public var pid: Int32
    public var channel: Channel
    /// As given to the delivery program: for a `…-@[]` sender, the recipient's own VERP form.
    public var sender: Address
    public var recipient: Address
    /// The entry's number, where `/proc/PID/fd/0` could be read.
    public var id: UInt64?
  }

  public private(set) var deliveries: [Delivery] = []
  /// Processes that qmail-lspawn or qmail-rspawn has forked and that have not yet become a delivery: whom they are for cannot be told.
  public private(set) var startingUp = 0
  private var byRecipient: [Address: [Int]] = [:]

  /// A look at `/proc` now. Processes that end meanwhile are not in it.
  /// - Throws: where those of others are hidden (hidepid, ProtectProc), by which the first one is hidden too: an empty look means nothing then.
  public static func look(proc: String = "/proc") throws(FileError) -> DeliveriesInFlight {
    var look = DeliveriesInFlight()
    var pids: [UInt64] = []
    let directory = try Descriptor.open(proc, .directory)
    guard (try? directory.open("1/comm")) != nil else {
      throw FileError(
        "see what qmail delivers", proc, code: EACCES,
        remedy: "the processes of others are hidden: mount it with gid= of a group of qwarden's, or"
          + " without hidepid=, and let the unit have ProtectProc=default")
    }
    try directory.forEachName { name, _ in
      if let pid = name.queueNumber { pids.append(pid) }
    }
    var spawners: Set<UInt64> = []
    for pid in pids {
      guard let comm = try? directory.open("\(pid)/comm").read(limit: 32), comm.count > 6,
        comm.starts(with: "qmail-".utf8)
      else { continue }
      let name = String(decoding: comm.dropLast(), as: UTF8.self)
      switch name {
      case "qmail-lspawn", "qmail-rspawn": spawners.insert(pid)
      case "qmail-local": look.add(pid, .local, in: directory)
      case _ where name.hasPrefix("qmail-remote"): look.add(pid, .remote, in: directory)
      default: break
      }
    }
    look.startingUp = spawners.count { pid in
      Self.parent(of: pid, in: directory).map(spawners.contains) ?? false
    }
    return look
  }

  /// Deliveries of this entry to this recipient record, as far as can be told: by number where it is known, else by the pair.
  public func isDelivering(
    _ id: UInt64, from sender: Address, to recipient: Address, over channel: Channel
  ) -> Bool {
    guard let found = byRecipient[recipient] else { return false }
    return found.contains { index in
      let delivery = deliveries[index]
      guard delivery.channel == channel else { return false }
      if let known = delivery.id { return known == id }
      return delivery.sender == Self.expanded(sender, for: recipient)
    }
  }

  /// The sender that qmail-send names to the delivery program: `owner-@host-@[]` becomes `owner-box=rhost@host` (qmail-send.c, senderadd).
  static func expanded(_ sender: Address, for recipient: Address) -> Address {
    let s = sender.bytes
    guard sender.isQmailVERP,
      let at = s.dropLast(4).lastIndex(of: UInt8(ascii: "@")),
      let cut = recipient.bytes.lastIndex(of: UInt8(ascii: "@"))
    else { return sender }
    return Address(
      s[..<at] + recipient.bytes[..<cut] + [UInt8(ascii: "=")] + recipient.bytes[(cut + 1)...]
        + [UInt8(ascii: "@")] + s[(at + 1)..<(s.count - 4)])
  }

  private mutating func add(_ pid: UInt64, _ channel: Channel, in proc: borrowing Descriptor) {
    guard let line = try? proc.open("\(pid)/cmdline").readAll(limit: 1 << 20),
      let (sender, recipient) = Self.parties(of: line, channel)
    else { return }
    byRecipient[recipient, default: []].append(deliveries.count)
    deliveries.append(
      Delivery(
        pid: Int32(truncatingIfNeeded: pid), channel: channel, sender: sender,
        recipient: recipient, id: Self.messageNumber(of: pid, in: proc)))
  }

  /// Sender and recipient from a NUL-separated command line; nil for anything else. A script put in qmail-remote's place has its
  /// interpreter before its own name, so arguments are counted from the end.
  static func parties(of line: [UInt8], _ channel: Channel) -> (Address, Address)? {
    guard line.last == 0 else { return nil }
    let words = line.dropLast().split(separator: 0, omittingEmptySubsequences: false)
    switch channel {
    case .remote:
      guard words.count >= 4 else { return nil }
      return (Address(words[words.count - 2]), Address(words[words.count - 1]))
    case .local:
      guard words.count >= 10 else { return nil }
      let last = words.count - 1
      let recipient = Array(words[last - 5]) + [UInt8(ascii: "@")] + Array(words[last - 2])
      return (Address(words[last - 1]), Address(recipient))
    }
  }

  /// The number in a link `…/mess/SPLIT/ID`.
  private static func messageNumber(of pid: UInt64, in proc: borrowing Descriptor) -> UInt64? {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 4096) { buffer in
      guard let start = buffer.baseAddress else { return nil }
      let length = readlinkat(proc.number, "\(pid)/fd/0", start, buffer.count)
      guard length > 0 else { return nil }
      let target = UnsafeRawBufferPointer(buffer)[..<length]
      let parts = target.split(separator: UInt8(ascii: "/"))
      guard parts.count > 2, parts[parts.count - 3].elementsEqual("mess".utf8) else { return nil }
      return UnsafeRawBufferPointer(rebasing: parts[parts.count - 1]).queueNumber
    }
  }

  private static func parent(of pid: UInt64, in proc: borrowing Descriptor) -> UInt64? {
    // "PID (comm) S PPID …": comm may hold anything, so count from its last parenthesis.
    guard let line = try? proc.open("\(pid)/stat").read(limit: 512),
      let end = line.lastIndex(of: UInt8(ascii: ")"))
    else { return nil }
    let words = line[(end + 1)...].split(separator: UInt8(ascii: " "))
    return words.count > 1 ? UInt64(String(decoding: words[1], as: UTF8.self)) : nil
  }
}
