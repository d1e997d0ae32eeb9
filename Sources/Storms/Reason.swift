import Mail

/// The sentence in which a storm explains itself: one line, plain English, hostile bytes escaped.
enum Reason {
  static func sentence(
    _ storm: Storm, what: String, isFromElsewhere: Bool, _ settings: DetectorSettings
  ) -> String {
    let evidence = storm.evidence
    var text = what.isEmpty ? subject(storm) : what
    // Of what the queue does as a whole no message is told of.
    let isOfMail = storm.kind != .stall && !(storm.kind == .surge && storm.isOfQueue)
    if isOfMail {
      text += ": \(count(evidence.messages, "message")), \(count(evidence.recipients, "recipient"))"
      if evidence.recipientDomains > 0 {
        text += " in \(count(evidence.recipientDomains, "domain"))"
      }
      text += ", \(outcomes(evidence))"
    }
    text += " since \(storm.began.iso8601)"
    if isOfMail {
      text += "; over the floor of \(threshold(storm, settings))"
      if let normal = evidence.normalPerMinute {
        text += ", normal is \(normal.tenths()) messages a minute"
      } else {
        text += ", no normal learned yet"
      }
    }
    if isFromElsewhere { text += "; the account was not used from there before" }
    if !storm.isCertain { text += "; told of only, since too few have failed to act on it" }
    if !storm.samples.isEmpty {
      text += "; for example \(storm.samples.map { "#\($0)" }.joined(separator: ", "))"
    }
    return text
  }

  private static func subject(_ storm: Storm) -> String {
    let names = storm.offenders.map(name).joined(separator: ", ")
    let victims = storm.victims.prefix(3).map { Escaping.terminal($0) }.joined(separator: ", ")
    let others = storm.victims.count > 3 ? " and \(storm.victims.count - 3) more" : ""
    switch storm.kind {
    case .relaySender: return "One sender floods other hosts (\(names))"
    case .relaySource: return "One source floods other hosts under many senders (\(names))"
    case .localScript: return "A local program floods other hosts (\(names))"
    case .backscatterIn:
      let from = names.isEmpty ? "" : " from \(names)"
      return "Failure notices for mail we never sent\(from) flood \(victims)\(others)"
    case .bounceOut:
      let from = names.isEmpty ? "" : ", sent by \(names)"
      return "We bounce mail with forged senders\(from) to \(victims)\(others)"
    case .surge:
      if !names.isEmpty {
        return isRefused(storm)
          ? "The same people or one domain are written to again and again, and some refuse (\(names))"
          : "Far more mail than usual, accepted so far (\(names))"
      }
      return victims.isEmpty
        ? "The queue grows and nobody stands out"
        : "\(victims)\(others) defers mail of many senders"
    case .stall: return "The queue does not move"
    }
  }

  private static func isRefused(_ storm: Storm) -> Bool {
    storm.evidence.failed * 3 > storm.evidence.failed + storm.evidence.delivered
  }

  private static func name(_ offender: Offender) -> String {
    switch offender {
    case .sender(let address): "sender \(Escaping.terminal(address.bytes))"
    case .user(let user): "user \(Escaping.terminal(user))"
    case .client(let client): "client \(Escaping.terminal(client))"
    case .uid(let uid): "uid \(uid)"
    case .senderDomain(let domain): "sender domain \(domain)"
    }
  }

  private static func outcomes(_ evidence: Evidence) -> String {
    let finished = evidence.failed + evidence.delivered
    let share = finished > 0 ? " (\(100 * evidence.failed / finished) % of those finished)" : ""
    return "\(evidence.failed) failed for good\(share), \(evidence.lingering) deferred, "
      + "\(evidence.delivered) delivered"
  }

  private static func threshold(_ storm: Storm, _ settings: DetectorSettings) -> String {
    let window = "in \(Int(settings.window.inSeconds)) s"
    switch storm.kind {
    case .backscatterIn, .bounceOut: return "\(settings.messages) messages \(window)"
    case .surge where !storm.offenders.isEmpty && !isRefused(storm):
      let accepted = settings.acceptedMessages
      return "\(accepted) messages or \(10 * accepted) recipients \(window)"
    case .surge where storm.offenders.isEmpty:
      return "\(settings.surgeRecipients) deferred recipients \(window)"
    default: return "\(settings.messages) messages or \(settings.recipients) recipients \(window)"
    }
  }

  private static func count(_ n: Int, _ noun: String) -> String {
    "\(n) \(noun)\(n == 1 ? "" : "s")"
  }
}
