import Glibc
import Mail

/// The text that qmail-qread prints (qmail-qread.c), byte for byte.
public enum QreadFormat {
  /// One message that qmail-send has taken in: a line with birth, number, size and sender, and a line a recipient.
  /// Messages still in todo are not printed by qmail-qread: the result is empty.
  public static func text(_ entry: Entry) -> [UInt8] {
    var out: [UInt8] = []
    guard !entry.isUnprocessed else { return out }
    heading(
      entry.identity, size: entry.size, sender: entry.sender.bytes.span,
      isBouncing: entry.isBouncing,
      to: &out)
    for (channel, recipients) in [(Channel.local, entry.local), (.remote, entry.remote)] {
      for recipient in recipients {
        line(recipient.address.bytes.span, channel, isDone: recipient.isDone, to: &out)
      }
    }
    return out
  }

  /// qmail-qread's line for a message of which a file cannot be read.
  static func trouble(_ id: UInt64, _ code: Int32, to out: inout [UInt8]) {
    out += "warning: trouble with #\(id): \(String(cString: strerror(code)))\n".utf8
  }

  static func heading(
    _ identity: EntryIdentity, size: Int64, sender: Span<UInt8>, isBouncing: Bool,
    to out: inout [UInt8]
  ) {
    // Four numbers of at most 20 digits, and what stands between them.
    out.append(addingCapacity: sender.count + 160) { out in
      let c = identity.birth.calendar
      number(UInt64(c.day), to: &out)
      out.append(UInt8(ascii: " "))
      let months: StaticString = "JanFebMarAprMayJunJulAugSepOctNovDec"
      months.withUTF8Buffer {
        for at in (c.month * 3 - 3)..<(c.month * 3) { out.append($0[at]) }
      }
      out.append(UInt8(ascii: " "))
      number(UInt64(max(c.year, 0)), to: &out)
      two(c.hour, after: " ", to: &out)
      two(c.minute, after: ":", to: &out)
      two(c.second, after: ":", to: &out)
      append(" GMT  #", to: &out)
      number(identity.id, to: &out)
      append("  ", to: &out)
      number(UInt64(max(size, 0)), to: &out)
      append("  <", to: &out)
      safe(sender, to: &out)
      append("> ", to: &out)
      if isBouncing { append(" bouncing", to: &out) }
      out.append(UInt8(ascii: "\n"))
    }
  }

  /// The lines of a `local` or `remote` file, as it stands.
  static func lines(_ file: Span<UInt8>, _ channel: Channel, to out: inout [UInt8]) {
    QueueRecords.scan(file) { letter, text in
      guard letter == UInt8(ascii: "T") || letter == UInt8(ascii: "D") else { return }
      line(file.extracting(text), channel, isDone: letter == UInt8(ascii: "D"), to: &out)
    }
  }

  private static func line(
    _ address: Span<UInt8>, _ channel: Channel, isDone: Bool, to out: inout [UInt8]
  ) {
    out.append(addingCapacity: address.count + 32) { out in
      if isDone { append("  done", to: &out) }
      append(channel == .local ? "\tlocal\t" : "\tremote\t", to: &out)
      safe(address, to: &out)
      out.append(UInt8(ascii: "\n"))
    }
  }

  private static func safe(_ bytes: Span<UInt8>, to out: inout OutputSpan<UInt8>) {
    for i in bytes.indices {
      let byte = bytes[i]
      out.append(byte < 32 || byte > 126 ? UInt8(ascii: "_") : byte)
    }
  }

  private static func append(_ text: StaticString, to out: inout OutputSpan<UInt8>) {
    text.withUTF8Buffer { for byte in $0 { out.append(byte) } }
  }

  private static func two(
    _ value: Int, after before: Unicode.Scalar, to out: inout OutputSpan<UInt8>
  ) {
    out.append(UInt8(ascii: before))
    out.append(UInt8(48 + value / 10))
    out.append(UInt8(48 + value % 10))
  }

  private static func number(_ value: UInt64, to out: inout OutputSpan<UInt8>) {
    var digits = InlineArray<20, UInt8>(repeating: 0)
    var first = 20
    var rest = value
    repeat {
      first -= 1
      digits[first] = UInt8(48 + rest % 10)
      rest /= 10
    } while rest > 0
    for at in first..<20 { out.append(digits[at]) }
  }
}
