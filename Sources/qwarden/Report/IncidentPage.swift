import Ledger
import Mail
import Response
import Storms

/// An incident as one HTML file: no script, nothing loaded from elsewhere; light or dark as the reader likes it, and it prints.
struct IncidentPage {
  let dossier: IncidentDossier
  /// The server; empty when not known.
  let host: String
  let version: String
  /// When it is written.
  let now: Timestamp

  private var storm: Storm { dossier.storm }

  var html: String {
    let title = "Incident \(storm.incident)\(host.isEmpty ? "" : " on \(host)"): \(dossier.title)"
    let page: Markup = """
      <!DOCTYPE html>
      <html lang="en">
      <head>
      <meta charset="utf-8">
      <meta name="viewport" content="width=device-width, initial-scale=1">
      <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
      <meta name="color-scheme" content="light dark">
      <title>\(title)</title>
      <style>\(Self.style)</style>
      </head>
      <body>
      <main>
      \(head)
      \(timeline)
      \(whoAndEvidence)
      \(done)
      \(advice)
      \(samples)
      </main>
      <footer>Written by qwarden \(version), \(Self.day(now)) \(Self.clock(now)) UTC. All times are UTC.</footer>
      </body>
      </html>
      """
    return page.text + "\n"
  }

  // MARK: Parts

  private var head: Markup {
    var facts: [(String, Markup)] = [
      ("began", moment(storm.began)),
      storm.ended == nil ? ("last seen", moment(storm.lastSeen)) : ("over", moment(storm.lastSeen)),
      ("lasted", "\(Self.span(dossier.lasted))"),
    ]
    if storm.kind != .stall {
      facts.append(("messages", "\(storm.evidence.messages)"))
      facts.append(
        ("failed for good", dossier.failedShare.map { "\($0)&thinsp;%" as Markup } ?? "–"))
      facts.append(("set aside", "\(dossier.setAside)"))
    }
    let state: Markup =
      storm.ended == nil
      ? "<span class=\"chip going\">goes on</span>" : "<span class=\"chip\">over</span>"
    return """
      <header>
      <p class="chips"><span class="number">Incident \(storm.incident)\(host.isEmpty ? "" : " on \(host)")</span><span class="chip kind">\(storm.kind.rawValue)</span>\(state)</p>
      <h1>\(dossier.title)</h1>
      <p class="lead">\(told: storm.reason).</p>
      <dl class="facts">
      \(facts.map { "<div><dt>\($0.0)</dt><dd>\($0.1)</dd></div>" as Markup })
      </dl>
      </header>
      """
  }

  private var timeline: Markup {
    let marks = marked.enumerated().map {
      Timeline.Mark(number: $0.offset + 1, time: $0.element.first, until: $0.element.last)
    }
    guard
      let timeline = Timeline(
        dossier.points, began: storm.began, lastSeen: storm.lastSeen, marks: marks)
    else {
      return """
        <section><h2>Timeline</h2><p class="none">There is no timeline: the daemon was not there to note one.</p></section>
        """
    }
    let key: Markup =
      marks.isEmpty
      ? "" : "<span><i class=\"dot\"></i>done by qwarden, numbered as below</span>"
    return """
      <section>
      <h2>Timeline</h2>
      <figure>
      \(timeline.svg("The queue's length and the storm's messages a second, \(Self.day(storm.began))"))
      <figcaption>
      <span><i class="waiting"></i>waiting</span><span><i class="leaving"></i>set aside or finished, leaving</span><span><i class="arrived"></i>arrived</span><span><i class="failed"></i>failed for good</span><span><i class="delivered"></i>delivered</span><span><i class="storm"></i>the storm</span>\(key)
      </figcaption>
      </figure>
      </section>
      """
  }

  /// The actions that are in the picture.
  private var marked: [ActionRecord] {
    dossier.actions.filter { $0.outcome == .done && $0.action != "alert" }
  }

  private var whoAndEvidence: Markup {
    let offenders = storm.offenders.map {
      "<li><span class=\"type\">\(Self.typeName($0.type))</span><b>\($0.value)</b></li>" as Markup
    }
    let victims = storm.victims.prefix(50).map { "<li>\($0)</li>" as Markup }
    let more: Markup =
      storm.victims.count > 50 ? "<li class=\"none\">and \(storm.victims.count - 50) more</li>" : ""
    let evidence = dossier.evidence.map { measure -> Markup in
      let bar: Markup = measure.name == "failed for good" ? shareBar : ""
      return """
        <tr><th scope="row">\(measure.name)</th><td class="figure">\(measure.value)\(bar)</td><td class="note">\(measure.threshold)</td></tr>
        """
    }
    let table: Markup =
      evidence.isEmpty
      ? ""
      : """
      <section>
      <h2>Evidence</h2>
      <table class="evidence"><thead><tr><th>measure</th><th>found</th><th>against</th></tr></thead><tbody>
      \(evidence)
      </tbody></table>
      </section>
      """
    return """
      <section class="who">
      <div><h2>Offenders</h2>\(offenders.isEmpty ? "<p class=\"none\">Nobody in particular.</p>" : "<ul>\(offenders)</ul>" as Markup)</div>
      <div><h2>Victims</h2>\(victims.isEmpty ? "<p class=\"none\">None are named.</p>" : "<ul>\(victims)\n\(more)</ul>" as Markup)</div>
      </section>
      \(table)
      """
  }

  /// The share that failed, with marks where ordinary mail and a storm are.
  private var shareBar: Markup {
    guard let share = dossier.failedShare else { return "" }
    let ordinary = dossier.settings.ordinaryFailureShare * 200
    let storm = dossier.settings.stormFailureShare * 200
    return """
      <svg class="bar" viewBox="0 0 200 12" aria-hidden="true"><rect class="rail" x="0" y="2" width="200" height="8" rx="2"/><rect class="\(share >= 30 ? "failed" : "waiting")" x="0" y="2" width="\(Double(share) * 2)" height="8" rx="2"/><path class="limit" d="M\(ordinary) 0V12M\(storm) 0V12"/></svg>
      """
  }

  private var done: Markup {
    if dossier.actions.isEmpty {
      return "<section><h2>What was done</h2><p class=\"none\">Nothing.</p></section>"
    }
    let rows = dossier.actions.map { action -> Markup in
      let number: Markup = marked.firstIndex(of: action).map { "\($0 + 1)" } ?? ""
      let undo: Markup =
        dossier.undoing(action).map { "<p class=\"undo\">to undo it: <code>\($0)</code></p>" } ?? ""
      let what: Markup =
        action.value.isEmpty
        ? "\(action.action)" : "\(action.action) <b>\(Text.decode(action.value))</b>"
      let times: Markup = action.times > 1 ? " <span class=\"times\">×\(action.times)</span>" : ""
      return """
        <tr class="\(action.outcome.rawValue)"><td class="place">\(number)</td><td>\(Self.clock(action.first))</td><td>\(what)\(times)</td><td><span class="outcome">\(action.outcome.rawValue)</span></td><td>\(IncidentDossier.short(action.why))\(undo)</td></tr>
        """
    }
    let kept = dossier.quarantine
    let sum: Markup =
      kept.isEmpty ? "" : "<p>Its messages now: \(kept.joined(separator: ", ")).</p>"
    return """
      <section>
      <h2>What was done</h2>
      <table class="actions"><thead><tr><th></th><th>time</th><th>action</th><th>outcome</th><th>why</th></tr></thead><tbody>
      \(rows)
      </tbody></table>
      \(sum)
      </section>
      """
  }

  private var advice: Markup {
    let items = Advice.against(storm).map { advice -> Markup in
      let line: Markup = advice.line.map { "<pre><code>\($0)</code></pre>" } ?? ""
      return "<li>\(told: advice.sentence)\(line)</li>"
    }
    if items.isEmpty { return "" }
    return "<section><h2>What helps</h2><ul class=\"advice\">\(items)</ul></section>"
  }

  private var samples: Markup {
    if storm.samples.isEmpty { return "" }
    let ids = storm.samples.map(String.init).joined(separator: " ")
    return """
      <section>
      <h2>Samples</h2>
      <p>Messages of this storm, while they are in the queue or in quarantine:</p>
      <pre><code>qwarden show \(ids)
      qwarden list --incident \(storm.incident)
      qwarden quarantined --incident \(storm.incident)</code></pre>
      </section>
      """
  }

  // MARK: Words

  private static func typeName(_ type: String) -> String { type.replacing("-", with: " ") }

  private func moment(_ time: Timestamp) -> Markup {
    "<time datetime=\"\(time.iso8601)\">\(Self.clock(time))</time> <small>\(Self.day(time))</small>"
  }

  private static func day(_ time: Timestamp) -> String { String(time.iso8601.prefix(10)) }
  private static func clock(_ time: Timestamp) -> String {
    String(time.iso8601.dropFirst(11).dropLast())
  }

  /// `2 s`, `4 min 10 s`, `3 h 5 min`.
  private static func span(_ seconds: Double) -> String {
    let whole = Int(seconds.rounded(.up))
    switch whole {
    case ..<60: return "\(whole) s"
    case ..<3600: return "\(whole / 60) min" + (whole % 60 > 0 ? " \(whole % 60) s" : "")
    default:
      return "\(whole / 3600) h" + (whole % 3600 >= 60 ? " \(whole % 3600 / 60) min" : "")
    }
  }

  private static let style: Markup = """
    :root{--page:#fff;--ink:#1b1f24;--soft:#5b6570;--line:#dde2e7;--card:#f5f7f9;--code:#eef1f4;--waiting:#3569b2;--leaving:#b7cbe8;--failed:#c33a2c;--delivered:#8fb89a;--arrived:#1b1f24;--storm:#c33a2c14;--mark:#6d4bb0;--on:#fff}
    @media(prefers-color-scheme:dark){:root{--page:#14171a;--ink:#e4e7ea;--soft:#9aa4ae;--line:#2d343b;--card:#1c2126;--code:#232a30;--waiting:#6ea2ea;--leaving:#2f4a70;--failed:#ef7263;--delivered:#5f9470;--arrived:#e4e7ea;--storm:#ef726322;--mark:#a98bea;--on:#14171a}}
    *{box-sizing:border-box}
    body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
    main,footer{max-width:62rem;margin:0 auto;padding:0 1.5rem}
    header{padding-top:2.5rem}
    h1{font-size:2rem;line-height:1.2;margin:.35rem 0 .6rem;letter-spacing:-.01em}
    h2{font-size:1.05rem;margin:0 0 .7rem}
    section{margin:2.4rem 0 0}
    .chips{display:flex;flex-wrap:wrap;gap:.5rem;align-items:center;margin:0;font-size:.85rem}
    .number{color:var(--soft);font-weight:600}
    .chip{border:1px solid var(--line);border-radius:1rem;padding:.05rem .65rem;color:var(--soft)}
    .chip.kind{border-color:var(--failed);color:var(--failed)}
    .chip.going{background:var(--failed);border-color:var(--failed);color:var(--on)}
    .lead{margin:0;color:var(--soft);max-width:52rem;overflow-wrap:anywhere}
    .facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.2rem,1fr));gap:1px;margin:1.6rem 0 0;background:var(--line);border:1px solid var(--line);border-radius:.5rem;overflow:hidden}
    .facts div{background:var(--card);padding:.7rem .9rem}
    dt{font-size:.8rem;color:var(--soft)}
    dd{margin:0;font-size:1.3rem;font-weight:600;font-variant-numeric:tabular-nums;line-height:1.3}
    dd small{display:block;font-size:.8rem;font-weight:400;color:var(--soft)}
    figure{margin:0}
    figure svg{display:block;width:100%;height:auto}
    figcaption{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;margin-top:.5rem;font-size:.82rem;color:var(--soft)}
    figcaption i{display:inline-block;width:.75rem;height:.75rem;border-radius:2px;margin-right:.4rem;vertical-align:-.05rem}
    i.waiting{background:var(--waiting)}i.leaving{background:var(--leaving)}i.failed{background:var(--failed)}i.delivered{background:var(--delivered)}i.storm{background:var(--storm);border:1px solid var(--line)}
    i.arrived{height:2px;background:var(--arrived);vertical-align:.25rem}i.dot{background:var(--mark);border-radius:50%}
    rect.waiting,path.waiting{fill:var(--waiting)}path.waiting{fill-opacity:.85}path.leaving{fill:var(--leaving)}path.waiting-edge{fill:none;stroke:var(--waiting);stroke-width:1.5}
    rect.failed{fill:var(--failed)}rect.delivered{fill:var(--delivered)}path.arrived{fill:none;stroke:var(--arrived);stroke-width:1.8}rect.storm{fill:var(--storm)}rect.rail{fill:var(--line)}
    path.grid{stroke:var(--line);fill:none}path.base{stroke:var(--soft);fill:none}path.limit{stroke:var(--ink);stroke-width:1.5;fill:none}
    svg text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;fill:var(--soft)}svg .name{fill:var(--ink);font-weight:600}
    path.mark{stroke:var(--mark);stroke-dasharray:3 3;fill:none}path.span{stroke:var(--mark);stroke-width:3;stroke-opacity:.45;fill:none}circle.mark-dot{fill:var(--mark)}svg .mark-number{fill:var(--on);font-size:11px;font-weight:700;text-anchor:middle}
    .who{display:grid;grid-template-columns:1fr 1fr;gap:1.5rem}
    ul{margin:0;padding:0;list-style:none}
    .who li{padding:.25rem 0;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
    .type{display:inline-block;min-width:7.5rem;color:var(--soft);font-size:.85rem}
    .none,.note,.times{color:var(--soft)}
    .none{margin:0}
    table{width:100%;border-collapse:collapse;font-size:.92rem}
    th,td{text-align:left;vertical-align:top;padding:.42rem .8rem .42rem 0;border-bottom:1px solid var(--line)}
    td:last-child,th:last-child{padding-right:0}
    thead th{font-size:.8rem;font-weight:400;color:var(--soft)}
    tbody th{font-weight:400;white-space:nowrap}
    .figure{font-weight:600;font-variant-numeric:tabular-nums}
    .bar{display:block;width:12.5rem;max-width:100%;height:.75rem;margin-top:.3rem}
    .actions td{overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
    .actions td:nth-child(2),.actions td:nth-child(4){white-space:nowrap}.actions td:nth-child(3){min-width:9rem}.undo{margin:0;color:var(--soft)}
    .place{color:var(--mark);font-weight:700}
    .done .outcome{color:var(--delivered);font-weight:600}.held .outcome{color:var(--soft);font-weight:600}
    code{font:.86em ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;background:var(--code);border-radius:3px;padding:.1em .35em;overflow-wrap:anywhere}
    pre{margin:.45rem 0 0;background:var(--code);border-radius:.4rem;padding:.65rem .9rem;white-space:pre-wrap}
    pre code{background:none;padding:0}
    .advice li{padding:.1rem 0 .9rem}
    footer{margin-top:2.8rem;padding-top:1rem;padding-bottom:2.5rem;color:var(--soft);font-size:.82rem;border-top:1px solid var(--line)}
    @media(max-width:40rem){figure{overflow-x:auto}figure svg{min-width:40rem}.who{grid-template-columns:1fr}.actions thead{display:none}.actions tr{display:block;padding:.5rem 0;border-bottom:1px solid var(--line)}.actions td{display:inline;border:0;padding:0 .6rem 0 0}}
    @media print{:root{--page:#fff;--ink:#000;--soft:#444;--line:#bbb;--card:#fff;--code:#f2f2f2;--waiting:#3569b2;--leaving:#b7cbe8;--failed:#c33a2c;--delivered:#8fb89a;--arrived:#000;--storm:#c33a2c14;--mark:#6d4bb0;--on:#fff}*{-webkit-print-color-adjust:exact;print-color-adjust:exact}body{font-size:10pt}main,footer{max-width:none;padding:0}header{padding-top:0}section{margin-top:1.4rem}.facts{grid-template-columns:repeat(6,1fr)}dd{font-size:1.1rem}tr,figure,.facts,.who,li,pre{break-inside:avoid}h2{break-after:avoid}@page{margin:1.6cm}}
    """
}
