import Mail
import Selection
import Storms

@testable import Policy
@testable import QmailControl
@testable import QmailQueue

/// Every reader of bytes that others wrote, to be given any bytes. Shared by the suite's mutation tests and by libFuzzer (`make fuzz`).
enum Parser: String, CaseIterable {
  case info, recipients, todo, bounce, envelope
  case message, header, mime, encodedWords
  case sendLog, logText, logNames
  case policy, control, badmailfrom
  case trace, json, pattern, selection

  /// Reads the bytes and checks what must hold of any answer; a broken promise traps, as a crash does.
  func read(_ bytes: [UInt8]) {
    switch self {
    case .info: _ = InfoFile.sender(bytes)
    case .recipients: recipients(bytes)
    case .todo:
      if let todo = TodoFile(bytes) { _ = todo.recipients.map { Escaping.terminal($0.bytes) } }
    case .bounce:
      let (count, consumed) = BounceFile.failures(bytes)
      precondition(count >= 0 && consumed >= 0 && consumed <= bytes.count)
    case .envelope:
      if case .whole(let envelope) = EnvelopeFormat.decode(bytes) {
        precondition(envelope.states.count == envelope.message.recipients.count)
        precondition(envelope.states.allSatisfy { $0 >= 0 && $0 < bytes.count })
        precondition(envelope.start.map { $0 > 0 && $0 <= bytes.count } ?? true)
      }
    case .message: message(bytes)
    case .header: header(bytes)
    case .mime:
      for part in MIMEStructure(bytes, header: MessageHeader(bytes)).parts {
        precondition(part.body.lowerBound >= 0 && part.body.upperBound <= bytes.count)
        _ = part.text(in: bytes)
      }
    case .encodedWords:
      _ = Text.decode(EncodedWords.decode(bytes))
      _ = HeaderDate.parse(bytes)
      for address in HeaderAddresses.find(in: bytes) {
        precondition(address.startIndex >= 0 && address.endIndex <= bytes.count)
      }
    case .sendLog:
      for line in bytes.split(separator: 10) { _ = SendLogLine(bytes: Array(line)) }
    case .logText: logText(bytes)
    case .logNames:
      let text = bytes[...]
      for found in [LogStamp.tai64n(text), LogStamp.seconds(text)] {
        if let found { precondition(found.text >= 0 && found.text <= bytes.count) }
      }
      _ = LogStamp.label(text)
    case .policy:
      do throws(PolicyErrors) { _ = try PolicyFile.parse(bytes, path: "p") } catch {
        precondition(!error.errors.isEmpty)
        precondition(!"\(error)".isEmpty)
      }
    case .control:
      for line in ControlText.lines(bytes) { _ = line }
      _ = ControlText.firstLine(bytes)
    case .badmailfrom: badmailfrom(bytes)
    case .trace: trace(bytes)
    case .json: json(bytes)
    case .pattern: pattern(bytes)
    case .selection: selection(bytes)
    }
  }

  private func recipients(_ bytes: [UInt8]) {
    let file = RecipientFile(bytes)
    precondition(file.offsets.count == file.recipients.count && file.tail <= bytes.count)
    let (pending, done) = RecipientFile.count(bytes)
    precondition(pending == file.recipients.count { !$0.isDone })
    precondition(done == file.recipients.count { $0.isDone })
    if let records = EntryFiles.parse(bytes) {
      // What the hands will write at is a letter.
      for record in records { precondition([68, 84].contains(bytes[Int(record.offset)])) }
    }
  }

  private func message(_ bytes: [UInt8]) {
    let head = MessageHead(bytes)
    precondition(head.subject.count <= 998 && !head.subject.contains(10))
    _ = Escaping.terminal(EncodedWords.decode(head.subject))
    // The bytes may come in pieces: a prefix is read as easily.
    _ = MessageHead(Array(bytes.prefix(bytes.count / 2)))
  }

  private func header(_ bytes: [UInt8]) {
    let header = MessageHeader(bytes)
    for field in header.fields {
      precondition(field.lines.upperBound <= header.bytes.count)
      precondition(field.name.upperBound <= field.lines.upperBound)
      _ = header.unfolded(field)
      _ = HeaderAddresses.find(in: header.value(field))
    }
    _ = header.text("Subject")
    _ = header.first("Date").map(HeaderDate.parse)
  }

  private func logText(_ bytes: [UInt8]) {
    var text = LogText(tag: "qmail")
    let now = Timestamp(seconds: 2_000_000_000)
    for line in bytes.split(separator: 10, omittingEmptySubsequences: false) {
      text.take(line, at: now)
    }
    text.flush(at: now)
    var last = Timestamp(nanoseconds: .min)
    for observation in text.collect().observations {
      precondition(observation.time >= last, "observations go back in time")
      last = observation.time
    }
  }

  private func badmailfrom(_ bytes: [UInt8]) {
    let text = BadmailfromText(bytes)
    let admin = text.adminBytes
    // The first line names a sender; the file is the rest.
    let cut = bytes.firstIndex(of: 10) ?? bytes.count
    let sender = Address(Array(bytes[..<cut]))
    _ = BadmailfromContents(bytes, path: "b").notes
    for dialect in BadmailfromDialect.allCases {
      guard SenderGrammar.objection(to: sender) == nil,
        let entry = try? dialect.entry(for: sender)
      else { continue }
      precondition(!entry.contains { $0 < 33 || $0 > 126 }, "an entry is one printable word")
      let line = OwnLine(sender: sender, until: nil, reason: Text.decode(bytes))
      let edited = text.replacing([(line, entry)])
      let again = BadmailfromText(edited)
      precondition(again.ownLines.contains { $0.sender == line.sender }, "own line not found again")
      precondition(again.adminBytes == admin, "the administrator's bytes changed")
      precondition(again.replacing([]) == admin)
    }
  }

  private func trace(_ bytes: [UInt8]) {
    do throws(TraceReader.Failure) {
      var reader = try TraceReader(bytes)
      while try reader.next() != nil {}
    } catch { precondition(error.line > 0 && !error.reason.isEmpty) }
  }

  private func json(_ bytes: [UInt8]) {
    do throws(JSONValue.Malformed) { _ = try JSONValue(bytes[...]) } catch {
      precondition(error.offset >= 0 && error.offset <= bytes.count)
    }
    // What is written for any bytes is one line of JSON that says the same again.
    var line = JSONLine()
    line.add("value", bytes: bytes)
    let closed = line.closed
    precondition(!closed.contains { $0 < 32 })
    guard let value = try? JSONValue(closed[...]) else { preconditionFailure("not JSON") }
    precondition(value["value"]?.string == Text.decode(bytes))
  }

  private func pattern(_ bytes: [UInt8]) {
    let cut = bytes.firstIndex(of: 10) ?? bytes.count
    let text = bytes[min(cut + 1, bytes.count)...]
    do throws(PatternError) {
      let pattern = try Pattern(String(decoding: bytes[..<cut], as: UTF8.self))
      let whole = pattern.matchesWithin(text)
      // In pieces as in one, but for the case of letters beyond ASCII.
      let search = pattern.search()
      let half = Array(text.prefix(text.count / 2))
      search.take(half.span)
      search.take(Array(text.dropFirst(half.count)).span)
      search.finish()
      let mayDiffer = whole && bytes[..<cut].contains { $0 >= 0x80 }
      precondition(
        search.isFound == whole || mayDiffer, "found in pieces \(search.isFound), in one \(whole)")
      _ = pattern.matchesWhole(text)
    } catch { precondition(!"\(error)".isEmpty) }
  }

  private func selection(_ bytes: [UInt8]) {
    let text = String(decoding: bytes, as: UTF8.self)
    _ = ClientRange(text)?.contains("198.18.0.9")
    _ = SizeCondition(text)?.holds(for: 5)
    _ = DateCondition(text)?.holds(for: Timestamp(seconds: 0))
    _ = Timestamp(iso8601: text)
    let cut = bytes.firstIndex(of: 10) ?? bytes.count
    guard let condition = try? HeaderCondition(String(decoding: bytes[..<cut], as: UTF8.self))
    else { return }
    var selection = Selection()
    selection.headers = [condition]
    _ = selection.matches(MessageHeader(Array(bytes[cut...])))
  }
}
