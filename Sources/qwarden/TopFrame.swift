import Mail
import Watchdog

/// One picture of `qwarden top`, as lines of text. Pure: the same answer and size give the same lines.
///
/// All that came from mail is escaped here, and nothing is wider than the screen.
struct TopFrame {
  /// What the rows are ordered by.
  enum Order: String, CaseIterable {
    case messages, failed, waiting
  }

  var width = 80
  /// Lines to fill; nil for as many as there is to say.
  var height: Int?
  var style = Style(isColoured: false)
  /// Block characters, and names with letters beyond ASCII.
  var isUnicode = true
  var order = Order.messages
  /// Said in place of the storms' state: that the picture is old.
  var warning: String?
  var isFrozen = false

  private static let rowsOffScreen = 10
  /// From here on the two tables stand side by side.
  private static let wide = 118
  private static let keys = "q quit   s order   space freeze"

  func lines(_ report: TopReport) -> [String] {
    var lines = head(report)
    let room = height.map { max(0, $0 - 1) }
    let storms = stormLines(
      report, room: room.map { max(2, ($0 - lines.count - 6) / 2) } ?? .max)
    lines += [line(("", nil))] + storms + [line(("", nil))]
    lines += tables(report, room: room.map { $0 - lines.count } ?? .max)
    var text = lines.map(render)
    if let height, let room {
      if text.count > room { text.removeSubrange(room...) }
      text += Array(repeating: "", count: room - text.count)
      if height > 0 { text.append(render(footer())) }
    }
    return text
  }

  // MARK: The parts

  private func head(_ report: TopReport) -> [Line] {
    let status = report.status
    var lines: [Line] = []
    let clock = Timestamp(seconds: report.time).iso8601.dropFirst(11).dropLast()
    lines.append(
      split(
        line(
          ("qwarden", .strong),
          ("  \(escape(status.mode))", status.mode == "observe" ? .waiting : nil),
          ("  up \(Readable.age(report.time - status.started))  \(escape(status.qmail))", nil)),
        line(("\(clock) UTC", .dim))))
    let queue = status.queue
    let leaving = queue.doneOnly ?? 0
    var counts: [Piece] = [
      (String(max(0, queue.messages - leaving)), .number), (" waiting", nil),
      ("  \(queue.unprocessed)", .number), (" in todo", nil),
    ]
    for (count, what) in [
      (queue.local, "local"), (queue.remote, "remote"), (queue.bouncing, "bouncing"),
      (queue.doneOnly, "leaving"),
    ] {
      if let count { counts += [("  \(count)", .number), (" \(what)", nil)] }
    }
    lines.append(Line(counts))
    lines += spark(report)
    lines += flows(report)
    var state: [Piece] = [
      ("blocks ", nil), (String(status.activeBlocks), .number),
      ("   quarantine ", nil), (String(status.quarantined), .number),
    ]
    if status.quarantinePending > 0 {
      state.append((", \(status.quarantinePending) to come", .waiting))
    }
    if status.queue.senderIsRunning == false {
      state.append(("   qmail-send is not running", .bad))
    }
    lines.append(Line(state))
    let trouble = warning ?? status.troubles.first.map { "\($0.what): \($0.why)" }
    if let trouble = trouble ?? status.notes.last { lines.append(line((escape(trouble), .bad))) }
    return lines
  }

  /// The queue's length, the newest at the right.
  private func spark(_ report: TopReport) -> [Line] {
    let rows = height.map { $0 >= 32 ? 3 : 1 } ?? 1
    let columns = max(1, width - 22)
    let shown = Array(report.lengths.suffix(columns))
    let most = max(1, shown.max() ?? 1)
    let span = Readable.age(Double(max(0, shown.count - 1)) * report.step)
    let glyphs = isUnicode ? Array(" ▁▂▃▄▅▆▇█") : Array(" _.-:=+*#")
    return (0..<rows).map { row in
      let floor = (rows - 1 - row) * 8
      let text = shown.map { length -> Character in
        let level = (length * rows * 8 + most - 1) / most - floor
        return glyphs[min(8, max(row == rows - 1 ? 1 : 0, level))]
      }
      let bars = String(repeating: " ", count: columns - text.count) + String(text)
      let legend = row == rows - 1 ? " max \(most), \(span)" : ""
      return line((bars, .number), (legend, .dim))
    }
  }

  private func flows(_ report: TopReport) -> [Line] {
    let column = width >= 60 ? 12 : 9
    let label = column - 1
    func row(_ name: String, _ flow: TopReport.Flow?, _ write: (Double) -> String) -> Line {
      guard let flow else { return line((Readable.pad(name, label), .dim), ("-", .dim)) }
      let finished = flow.deliveries + flow.failures
      let isBad = finished > 0 && flow.failures / finished >= 0.5
      return line(
        (Readable.pad(name, label), .dim), (Readable.right(write(flow.arrivals), column), nil),
        (Readable.right(write(flow.deliveries), column), nil),
        (Readable.right(write(flow.failures), column), isBad ? .bad : nil),
        (Readable.right(flow.deferrals.map(write) ?? "no log", column), nil))
    }
    let titles = ["arrived", "delivered", "failed", "deferred"]
      .map { Readable.right($0, column) }.joined()
    return [
      line((Readable.pad("", label) + titles, .dim)),
      row("a second", report.now, Self.rate),
      row("a minute", report.minute) { String(Int(($0 * 60).rounded())) },
    ]
  }

  private func stormLines(_ report: TopReport, room: Int) -> [Line] {
    if report.storms.isEmpty { return [line(("no storm", .dim))] }
    var lines: [Line] = []
    let shown = report.storms.sorted { $0.lastSeen > $1.lastSeen }
    for (place, storm) in shown.enumerated() {
      if lines.count + 2 > room || (lines.count + 3 > room && place + 1 < shown.count) {
        lines.append(line(("and \(shown.count - place) more: qwarden incidents", .dim)))
        break
      }
      let quiet = report.time - storm.lastSeen
      let isQuiet = quiet >= 30
      let state = isQuiet ? "quiet \(Readable.age(quiet))" : "storming"
      let who = storm.offenders.isEmpty ? storm.victims.map { "to \($0)" } : storm.offenders
      lines.append(
        split(
          line(
            ("#\(storm.incident) \(storm.kind)", isQuiet ? .waiting : .bad),
            ("  \(who.map(escape).joined(separator: ", "))", .strong)),
          line(("  \(state)", isQuiet ? .dim : .bad))))
      var done: [String] = []
      if storm.blocks > 0 { done.append("blocked") }
      if storm.quarantined > 0 { done.append("\(storm.quarantined) set aside") }
      if done.isEmpty, let held = storm.held { done.append("held: \(escape(held))") }
      let share = Self.share(storm.failed, storm.delivered).map { ", \($0) failed" } ?? ""
      let began = Readable.age(report.time - storm.began)
      lines.append(
        line(
          ("   since \(began), \(storm.messages) messages\(share)", nil),
          (done.isEmpty ? "" : ": \(done.joined(separator: "; "))", .number)))
    }
    return lines
  }

  private func tables(_ report: TopReport, room: Int) -> [Line] {
    let window = Readable.age(report.window)
    func table(_ title: String, _ rows: [TopReport.Row], _ width: Int, _ room: Int) -> [Line] {
      guard room > 0 else { return [] }
      // Columns give way on a narrow screen, the name last.
      let figures = width >= 60 ? 4 : width >= 46 ? 3 : 2
      let titles = ["messages", "recipients", "failed", "waiting"]
      let chosen = [[0, 2], [0, 2, 3], [0, 1, 2, 3]][figures - 2]
      let name = max(8, width - chosen.count * 11)
      func figure(_ column: Int, _ row: TopReport.Row) -> Piece {
        switch column {
        case 0: return (Readable.right(String(row.messages), 11), nil)
        case 1: return (Readable.right(String(row.recipients), 11), nil)
        case 2:
          let share = Self.share(row.failed, row.delivered) ?? "-"
          let bad = row.failed * 2 >= row.failed + row.delivered && row.failed > 0
          return (Readable.right(share, 11), bad ? .bad : nil)
        default: return (Readable.right(String(row.waiting), 11), nil)
        }
      }
      let head = line(
        (Readable.pad(fit(title, name), name), .strong),
        (chosen.map { Readable.right(titles[$0], 11) }.joined(), .dim))
      if rows.isEmpty { return [head, line(("none in the last \(window)", .dim))] }
      let best = rows.sorted(by: comes).prefix(
        min(room - 1, height == nil ? Self.rowsOffScreen : .max))
      return [head]
        + best.map { row in
          var label = row.type == "sender" ? "" : "\(row.type) "
          label += row.type == "sender" && row.value.isEmpty ? "<>" : escape(row.value)
          let mark = row.incident.map { " #\($0)" } ?? ""
          let text = fit(label, name - TextWidth.of(mark) - 1) + mark
          return Line(
            [(Readable.pad(text, name), row.incident == nil ? nil : .bad)]
              + chosen.map { figure($0, row) })
        }
    }
    if width >= Self.wide {
      let half = (width - 3) / 2
      let left = table("SENDERS", report.senders, half, room)
      let right = table("SOURCES, \(window)", report.sources, half, room)
      return (0..<max(left.count, right.count)).map { place in
        let first = place < left.count ? left[place].cut(half, "…") : Line([])
        let gap = String(repeating: " ", count: half - first.width + 3)
        return Line(first.pieces + [(gap, nil)] + (place < right.count ? right[place].pieces : []))
      }
    }
    // Sources need few rows mostly; what they leave, senders get.
    let half = room == .max ? .max : max(2, min((room - 1) / 2, max(1, report.sources.count) + 1))
    let sources = table("SOURCES, \(window)", report.sources, width, half)
    let rest = room == .max ? .max : room - sources.count - 1
    return table("SENDERS", report.senders, width, rest) + [Line([])] + sources
  }

  private func footer() -> Line {
    var pieces: [Piece] = [(Self.keys, .dim)]
    if order != .messages { pieces.append(("   by \(order.rawValue)", .number)) }
    if isFrozen { pieces.append(("   frozen", .waiting)) }
    return Line(pieces)
  }

  private func comes(_ a: TopReport.Row, before b: TopReport.Row) -> Bool {
    func key(_ row: TopReport.Row) -> Int {
      switch order {
      case .messages: row.messages
      case .failed: row.failed
      case .waiting: row.waiting
      }
    }
    return (key(a), a.messages, b.value) > (key(b), b.messages, a.value)
  }

  // MARK: Text

  fileprivate typealias Piece = (text: String, ink: Style.Ink?)

  fileprivate struct Line {
    var pieces: [Piece]
    init(_ pieces: [Piece]) { self.pieces = pieces }

    var width: Int { pieces.reduce(0) { $0 + TextWidth.of($1.text) } }

    /// At most so many columns.
    func cut(_ limit: Int, _ mark: String) -> Line {
      guard width > limit else { return self }
      var kept: [Piece] = []
      var room = limit
      for piece in pieces {
        let width = TextWidth.of(piece.text)
        if width > room {
          kept.append((TopFrame.fit(piece.text, room, mark), piece.ink))
          break
        }
        kept.append(piece)
        room -= width
      }
      return Line(kept)
    }
  }

  private func line(_ pieces: Piece...) -> Line { Line(pieces) }

  /// The left one gives way to the right one.
  private func split(_ left: Line, _ right: Line) -> Line {
    let cut = left.cut(max(0, width - right.width), mark)
    let gap = String(repeating: " ", count: max(0, width - right.width - cut.width))
    return Line(cut.pieces + [(gap, nil)] + right.pieces)
  }

  private func render(_ line: Line) -> String {
    var text = ""
    for piece in line.cut(width, mark).pieces {
      text += piece.ink.map { style($0, piece.text) } ?? piece.text
    }
    while !style.isColoured, text.last == " " { text.removeLast() }
    return text
  }

  private var mark: String { isUnicode ? "…" : "~" }

  private func fit(_ text: String, _ width: Int) -> String { Self.fit(text, width, mark) }

  fileprivate static func fit(_ text: String, _ width: Int, _ mark: String) -> String {
    guard TextWidth.of(text) > width else { return text }
    var kept = String.UnicodeScalarView()
    var room = max(0, width - 1)
    for scalar in text.unicodeScalars {
      room -= TextWidth.of(scalar)
      if room < 0 { break }
      kept.append(scalar)
    }
    return String(kept) + (width > 0 ? mark : "")
  }

  private func escape(_ text: String) -> String {
    let safe = Escaping.terminal(text)
    guard !isUnicode else { return safe }
    return String(String.UnicodeScalarView(safe.unicodeScalars.map { $0.isASCII ? $0 : "?" }))
  }

  private static func rate(_ value: Double) -> String {
    let tenths = Int((value * 10).rounded())
    return tenths >= 1000 ? String(tenths / 10) : "\(tenths / 10).\(tenths % 10)"
  }

  /// The share of recipients that failed, of those that finished; nil where none has.
  private static func share(_ failed: Int, _ delivered: Int) -> String? {
    failed + delivered > 0 ? "\(failed * 100 / (failed + delivered)) %" : nil
  }
}
