import Foundation

/// Growth curves as SVG: time against messages, both logarithmic.
enum Plot {
  // Each curve has a colour and a dash that no other has, up to 24.
  private static let colours = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8c5a00", "#56b4e9", "#6a3d9a", "#444444",
  ]
  private static let dashes = ["", " stroke-dasharray=\"7 4\"", " stroke-dasharray=\"2 3\""]

  static func svg(_ results: [Result]) -> String {
    var curves: [(name: String, points: [(x: Double, y: Double)])] = []
    func add(_ name: String, _ size: Int, _ seconds: Double) {
      let point = (x: log10(Double(size)), y: log10(max(seconds, 1e-6)))
      if let at = curves.firstIndex(where: { $0.name == name }) {
        if !curves[at].points.contains(where: { $0.x == point.x }) {
          curves[at].points.append(point)
        }
      } else {
        curves.append((name, [point]))
      }
    }
    for result in results where result.unit == "s" && !result.isCold {
      // Small queues have fewer than 1,000 changes.
      add(
        "qwarden \(result.name.replacing(/\d+ changes/, with: "changes"))", result.size, result.ours
      )
      if let other = result.other, let theirs = result.theirs, other.hasPrefix("qm") {
        add(other, result.size, theirs)
      }
    }
    let all = curves.flatMap(\.points)
    guard let low = all.map(\.y).min(), let high = all.map(\.y).max() else { return "" }
    let xs = Array(Set(all.map(\.x))).sorted()
    let (left, right) = (xs[0], max(xs[xs.count - 1], xs[0] + 1))
    let (bottom, top) = (low.rounded(.down), high.rounded(.up))
    func x(_ value: Double) -> Double { 70 + (value - left) / (right - left) * 430 }
    func y(_ value: Double) -> Double { 380 - (value - bottom) / (top - bottom) * 350 }
    let height = max(430, 40 + curves.count * 20)
    var out =
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 800 \(height)\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"800\" height=\"\(height)\" fill=\"white\"/>\n"
    for power in Int(bottom)...Int(top) {
      let at = y(Double(power))
      let text =
        power >= 0
        ? "\(Int(pow(10, Double(power)))) s"
        : power >= -3
          ? "\(Int(pow(10, Double(power + 3)))) ms" : "\(Int(pow(10, Double(power + 6)))) µs"
      out +=
        "<line x1=\"70\" y1=\"\(at)\" x2=\"500\" y2=\"\(at)\" stroke=\"#ddd\"/><text x=\"62\" y=\"\(at + 4)\" text-anchor=\"end\">\(text)</text>\n"
    }
    for value in xs {
      out +=
        "<text x=\"\(x(value))\" y=\"400\" text-anchor=\"middle\">\(Int(pow(10, value).rounded()))</text>\n"
    }
    out += "<text x=\"285\" y=\"422\" text-anchor=\"middle\">messages in the queue</text>\n"
    for (number, curve) in curves.enumerated() {
      let colour = colours[number % colours.count]
      let dash = dashes[number / colours.count % dashes.count]
      let points = curve.points.sorted { $0.x < $1.x }
      let line = points.map { String(format: "%.1f,%.1f", x($0.x), y($0.y)) }
        .joined(separator: " ")
      out +=
        "<polyline points=\"\(line)\" fill=\"none\" stroke=\"\(colour)\" stroke-width=\"2\"\(dash)/>\n"
      // A curve of one point would not be seen else.
      for point in points {
        out += String(
          format: "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\" fill=\"%@\"/>\n", x(point.x),
          y(point.y),
          colour)
      }
      let row = 30 + Double(number) * 20
      out +=
        "<line x1=\"520\" y1=\"\(row)\" x2=\"545\" y2=\"\(row)\" stroke=\"\(colour)\" stroke-width=\"2\"\(dash)/><text x=\"552\" y=\"\(row + 4)\">\(curve.name)</text>\n"
    }
    return out + "</svg>\n"
  }
}
