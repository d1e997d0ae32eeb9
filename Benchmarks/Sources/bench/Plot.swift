import Foundation

/// Growth curves as SVG: time against messages, both logarithmic.
enum Plot {
  private static let colours = ["#1b6ca8", "#c0392b", "#27834a", "#8e44ad", "#b9770e", "#555555"]

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
      add("qwarden \(result.name)", result.size, result.ours)
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
    var out =
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 430\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"760\" height=\"430\" fill=\"white\"/>\n"
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
      let dash = curve.name.hasPrefix("qwarden") ? "" : " stroke-dasharray=\"5 4\""
      let points = curve.points.sorted { $0.x < $1.x }
        .map { String(format: "%.1f,%.1f", x($0.x), y($0.y)) }.joined(separator: " ")
      out +=
        "<polyline points=\"\(points)\" fill=\"none\" stroke=\"\(colour)\" stroke-width=\"2\"\(dash)/>\n"
      let row = 30 + Double(number) * 20
      out +=
        "<line x1=\"520\" y1=\"\(row)\" x2=\"545\" y2=\"\(row)\" stroke=\"\(colour)\" stroke-width=\"2\"\(dash)/><text x=\"552\" y=\"\(row + 4)\">\(curve.name)</text>\n"
    }
    return out + "</svg>\n"
  }
}
