import Ledger
import Mail

/// The picture of an incident as SVG: above what was done, then the queue's length, then the storm's arrivals and failures a second.
///
/// Only numbers get into it, and names of classes; colours are the page's.
struct Timeline {
  struct Mark {
    var number: Int
    var time: Timestamp
    /// For marks that last.
    var until: Timestamp
  }

  let points: [IncidentPoint]
  let began: Timestamp
  let lastSeen: Timestamp
  let marks: [Mark]
  let begin: Timestamp
  let end: Timestamp

  private static let width = 960.0
  private static let left = 58.0
  private static let right = 944.0
  private static let lane = 22.0
  private static let panel = 150.0
  private static let gap = 46.0

  /// - Returns: nil where there is too little to draw.
  init?(_ points: [IncidentPoint], began: Timestamp, lastSeen: Timestamp, marks: [Mark]) {
    guard let first = points.first, let last = points.last, last.time > first.time else {
      return nil
    }
    let lasted = max(0, lastSeen.seconds(since: began))
    // Enough of the time before to see the difference, and the storm still the most of it.
    let begin = max(first.time, Timestamp(seconds: began.seconds - min(60, max(10, lasted))))
    let earlier = points.lastIndex { $0.time <= begin } ?? 0
    self.begin = begin
    self.points = Array(points[earlier...])
    self.began = began
    self.lastSeen = lastSeen
    self.marks = marks
    // A storm ends only after a long silence: of that, as much as shows that it is one.
    let interesting = ([lastSeen] + marks.map(\.time)).max() ?? lastSeen
    let tail = Timestamp(seconds: interesting.seconds + max(10, lasted / 5))
    end = max(min(tail, last.time), Timestamp(seconds: begin.seconds + 1))
  }

  // MARK: Drawing

  func svg(_ title: String) -> Markup {
    let rows = laneRows()
    let lanes = Double(max(1, (rows.max() ?? 0) + 1)) * Self.lane
    let queueTop = lanes + 22
    let flowTop = queueTop + Self.panel + Self.gap
    let height = flowTop + Self.panel + 34
    let from = x(began)
    let to = x(min(end, max(lastSeen, Timestamp(seconds: began.seconds + 1))))
    var drawing: Markup = """
      <svg viewBox="0 0 \(Self.width) \(height)" role="img" aria-label="\(title)">
      <title>\(title)</title>
      <rect class="storm" x="\(from)" y="\(queueTop)" width="\(max(1.5, to - from))" height="\(Self.panel)"/>
      <rect class="storm" x="\(from)" y="\(flowTop)" width="\(max(1.5, to - from))" height="\(Self.panel)"/>
      """
    drawing += queue(queueTop)
    drawing += flow(flowTop)
    for panel in [queueTop, flowTop] {
      drawing += clock(panel + Self.panel, isLabelled: panel == flowTop)
    }
    for (mark, row) in zip(marks, rows) {
      drawing += draw(mark, row: row, from: queueTop, to: flowTop + Self.panel)
    }
    drawing += "\n</svg>"
    return drawing
  }

  private func queue(_ top: Double) -> Markup {
    let shown = points.filter { $0.time <= end }
    let axis = Axis(most: Double(shown.map { $0.waiting + $0.leaving }.max() ?? 0))
    func y(_ value: Int) -> Double { top + Self.panel - Self.panel * Double(value) / axis.top }
    let all = steps(shown) { y($0.waiting + $0.leaving) }
    let waiting = steps(shown) { y($0.waiting) }
    let floor = top + Self.panel
    return """
      \(grid(axis, top, "messages in the queue"))
      <path class="leaving" d="\(area(all, floor))"/>
      <path class="waiting" d="\(area(waiting, floor))"/>
      <path class="waiting-edge" d="\(path(waiting))"/>
      """
  }

  private func flow(_ top: Double) -> Markup {
    let rates = rates()
    let axis = Axis(most: rates.map { max($0.arrived, $0.failed + $0.delivered) }.max() ?? 0)
    func y(_ value: Double) -> Double { top + Self.panel - Self.panel * value / axis.top }
    let bars = rates.filter { $0.arrived > 0 || $0.failed > 0 || $0.delivered > 0 }.map {
      rate -> Markup in
      let (a, b) = (x(rate.from), max(x(rate.to), x(rate.from) + 1.2))
      let inset = b - a > 5 ? 0.6 : 0
      func bar(_ name: String, _ low: Double, _ high: Double) -> Markup {
        guard high > low else { return "" }
        return
          "<rect class=\"\(name)\" x=\"\(a + inset)\" y=\"\(y(high))\" width=\"\(b - a - 2 * inset)\" height=\"\(y(low) - y(high))\"/>"
      }
      let edge: Markup =
        rate.arrived > 0
        ? "<path class=\"arrived\" d=\"M\(a) \(y(rate.arrived))H\(b)\"/>" : ""
      return """
        \(bar("failed", 0, rate.failed))\(bar("delivered", rate.failed, rate.failed + rate.delivered))\(edge)
        """
    }
    return """
      \(grid(axis, top, "of the storm, a second: messages that arrived, recipients that finished"))
      \(bars)
      """
  }

  private struct Rate {
    var from: Timestamp
    var to: Timestamp
    var arrived: Double
    var failed: Double
    var delivered: Double
  }

  private func rates() -> [Rate] {
    var rates: [Rate] = []
    for (before, after) in zip(points, points.dropFirst()) where after.time <= end {
      let step = IncidentPoint.step(age: after.time.seconds(since: began)) * 1.5
      // A moment in which nothing changed has no point, so what changed, changed within the last step; before the
      // storm was seen, since its begin.
      let earliest =
        before.time < began
        ? began : max(before.time, Timestamp(seconds: after.time.seconds - step))
      let from = min(earliest, Timestamp(seconds: after.time.seconds - 1))
      let seconds = after.time.seconds(since: from)
      func rate(_ count: Int) -> Double { Double(max(0, count)) / seconds }
      rates.append(
        Rate(
          from: from, to: after.time, arrived: rate(after.messages - before.messages),
          failed: rate(after.failed - before.failed),
          delivered: rate(after.delivered - before.delivered)))
    }
    return rates
  }

  private func draw(_ mark: Mark, row: Int, from top: Double, to bottom: Double) -> Markup {
    let at = x(mark.time)
    let y = 12 + Double(row) * Self.lane
    let until = x(min(mark.until, end))
    let span: Markup =
      until > at + 10 ? "<path class=\"span\" d=\"M\(at) \(y)H\(until)\"/>" : ""
    return """

      \(span)<path class="mark" d="M\(at) \(y)V\(bottom)"/>
      <circle class="mark-dot" cx="\(at)" cy="\(y)" r="9"/>
      <text class="mark-number" x="\(at)" y="\(y + 3.8)">\(mark.number)</text>
      """
  }

  /// Marks that would lie on each other go into rows of their own.
  private func laneRows() -> [Int] {
    var ends: [Double] = []
    return marks.map { mark in
      let at = x(mark.time)
      let row = ends.firstIndex { $0 + 22 <= at } ?? ends.count
      let reach = max(at, x(min(mark.until, end)))
      if row < ends.count { ends[row] = reach } else { ends.append(reach) }
      return row
    }
  }

  // MARK: Axes

  private struct Axis {
    let top: Double
    let step: Double

    init(most: Double) {
      let rough = max(most, 1e-9) / 3
      let magnitude = Self.magnitude(rough)
      step = max(
        0.1, magnitude * ([1, 2, 5, 10].first { magnitude * $0 >= rough } ?? 10))
      top = max(step, (most / step).rounded(.up) * step)
    }

    private static func magnitude(_ value: Double) -> Double {
      var power = 1.0
      while power * 10 <= value { power *= 10 }
      while power > value, power > 1e-3 { power /= 10 }
      return power
    }

    var ticks: [Double] { (0...Int((top / step).rounded())).map { Double($0) * step } }
  }

  private func grid(_ axis: Axis, _ top: Double, _ name: String) -> Markup {
    let lines = axis.ticks.map { value -> Markup in
      let y = top + Self.panel - Self.panel * value / axis.top
      return """
        <path class="\(value == 0 ? "base" : "grid")" d="M\(Self.left) \(y)H\(Self.right)"/>
        <text class="tick" x="\(Self.left - 8)" y="\(y + 4)" text-anchor="end">\(Self.number(value))</text>
        """
    }
    return """
      \(lines)
      <text class="name" x="\(Self.left)" y="\(top - 9)">\(name)</text>
      """
  }

  private func clock(_ y: Double, isLabelled: Bool) -> Markup {
    let steps: [Double] = [
      1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400,
    ]
    let span = end.seconds(since: begin)
    let step = steps.first { span / $0 <= 8 } ?? 86_400 * (span / 86_400 / 8).rounded(.up)
    var ticks: [Markup] = []
    var time = (begin.seconds / step).rounded(.up) * step
    while time <= end.seconds {
      let at = x(Timestamp(seconds: time))
      let text = Timestamp(seconds: time).iso8601
      let label =
        step >= 86_400 ? text.prefix(10) : text.dropFirst(11).prefix(step < 60 ? 8 : 5)
      ticks.append("<path class=\"base\" d=\"M\(at) \(y)v5\"/>")
      if isLabelled {
        ticks.append(
          "<text class=\"tick\" x=\"\(at)\" y=\"\(y + 20)\" text-anchor=\"middle\">\(String(label))</text>"
        )
      }
      time += step
    }
    return "\n\(ticks)"
  }

  private static func number(_ value: Double) -> String {
    value >= 10_000 ? "\(Int(value / 1000))k" : value.tenths(short: true)
  }

  // MARK: Geometry

  private func x(_ time: Timestamp) -> Double {
    let share = time.seconds(since: begin) / end.seconds(since: begin)
    return Self.left + (Self.right - Self.left) * min(max(share, 0), 1)
  }

  /// A line that stays level until the next point: what has no point has not changed.
  private func steps(_ points: [IncidentPoint], _ y: (IncidentPoint) -> Double) -> [(
    Double, Double
  )] {
    var line: [(Double, Double)] = []
    for point in points {
      if let last = line.last { line.append((x(point.time), last.1)) }
      line.append((x(point.time), y(point)))
    }
    if let last = line.last { line.append((x(end), last.1)) }
    return line
  }

  private func path(_ line: [(Double, Double)]) -> Markup {
    var text: Markup = ""
    for (place, (x, y)) in line.enumerated() { text += place == 0 ? "M\(x) \(y)" : "L\(x) \(y)" }
    return text
  }

  private func area(_ line: [(Double, Double)], _ floor: Double) -> Markup {
    guard let first = line.first, let last = line.last else { return "" }
    return "\(path(line))L\(last.0) \(floor)L\(first.0) \(floor)Z"
  }
}
