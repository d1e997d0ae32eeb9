import Files
import Ledger
import Mail
import Policy
import QmailQueue
import Replay
import Response
import Storms

// What the daemon answers.
extension Watchdog {
  /// Serves the socket, anew where it has gone. A watch without it is still a watch.
  func awaitQuestions() {
    guard onStop != nil else { return }
    if let questions, questions.assumeIsolated({ $0.isInPlace }) { return }
    questions?.assumeIsolated { $0.stop() }
    questions = nil
    do {
      let server = try QuestionServer(
        at: QuestionServer.path(state: configuration.places.state), on: executor
      ) { [weak self] question in
        self?.assumeIsolated { $0.answer(question) } ?? []
      }
      server.assumeIsolated { $0.start() }
      questions = server
      works(.questions)
    } catch {
      fails(.questions, "\(error)", at: WallClock.now())
    }
  }

  /// The lines of an answer. Whatever is asked, it takes milliseconds: the queue waits meanwhile.
  func answer(_ question: Question) -> [[UInt8]] {
    switch question {
    case .top(let rows): [Escaping.json(of: topReport(rows: min(max(0, rows), TopReport.mostRows)))]
    case .explain(let whom, let asJSON):
      Subject(whom).map { explain($0, asJSON: asJSON) } ?? []
    }
  }

  private func explain(_ subject: Subject, asJSON: Bool) -> [[UInt8]] {
    let now = WallClock.now()
    let context =
      (try? responder.context(
        at: now, storms: detector.storms, queueMessages: watcher.counts.messages))
      ?? PlanningContext(now: now, control: responder.control, dialect: responder.dialect)
    let report = ExplanationReport(
      detector.explanation(of: subject), policy: policy, context: context)
    return asJSON ? [report.json.closed] : report.lines.map { Array($0.utf8) }
  }

  private func topReport(rows: Int) -> TopReport {
    let now = WallClock.now()
    let ranking = detector.ranking(rows, at: now)
    let blocks = (try? ledger.standingBlocks()) ?? []
    var status = report()
    // As status.json says it: when the queue was last looked at.
    if lastLook > 0 { status.written -= seconds() - lastLook }
    return TopReport(
      status: status, time: now.seconds, window: policy.detection.window.inSeconds,
      now: TopReport.Flow(flow.recent(10, at: now), isLogged: flow.isLogged),
      minute: TopReport.Flow(flow.recent(60, at: now), isLogged: flow.isLogged),
      senders: ranking.senders.map(TopReport.Row.init),
      sources: ranking.sources.map(TopReport.Row.init),
      storms: detector.storms.suffix(rows).map { storm in picture(of: storm, blocks) },
      lengths: flow.samples.suffix(FlowMeter.capacity).map(\.waiting), step: flow.pace)
  }

  private func picture(of storm: Storm, _ blocks: [Block]) -> TopReport.Storm {
    let held = (try? ledger.actions(incident: storm.incident, limit: 20))?
      .first { $0.outcome == .held }
    return TopReport.Storm(
      incident: storm.incident, kind: storm.kind.rawValue, began: storm.began.seconds,
      lastSeen: storm.lastSeen.seconds, messages: storm.evidence.messages,
      failed: storm.evidence.failed, delivered: storm.evidence.delivered,
      waiting: storm.evidence.lingering,
      offenders: storm.offenders.prefix(3).map(\.value), victims: Array(storm.victims.prefix(3)),
      blocks: blocks.count { $0.author == .incident(storm.incident) },
      quarantined: (try? ledger.keptCount(incident: storm.incident)) ?? 0, held: held?.why)
  }
}
