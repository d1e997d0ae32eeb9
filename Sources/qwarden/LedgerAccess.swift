import Files
import Glibc
import Ledger
import Policy
import QmailControl
import QmailQueue
import Response

extension Ledger {
  /// The ledger for a command that only reads.
  static func reading(_ place: StatePlace) throws -> Ledger {
    try Ledger("\(place.state)/ledger.sqlite", creating: false)
  }
}

extension LedgerError: CommandFailure {}

extension QuarantineError: CommandFailure {
  var exitCode: Int32 {
    switch kind {
    case .file(let error): error.exitCode
    case .foreign, .damaged, .missing, .exists: Exit.badData
    }
  }
}

extension QueueError: CommandFailure {}
extension ControlError: CommandFailure {}
extension BadmailfromError: CommandFailure {}
extension PolicyErrors: CommandFailure {}
extension Outcome.Failure: CommandFailure {}

/// The hands, for a command. The policy is the shipped one where there is no file: an administrator's own order needs none.
enum CommandHands {
  static func open(queue: QueuePlace, state: StatePlace, policy: PolicyPlace) throws -> Responder {
    let layout = try QueueLayout.read(qmail: queue.qmail)
    let control = try ControlDirectory(qmail: queue.qmail).read()
    let exists = (try? FileStatus.of(policy.policy, following: true)) != nil
    let rules = exists ? try PolicyFile.load(policy.policy) : Policy()
    try Folder.make(state.state)
    let places = Responder.Places(qmail: queue.qmail, state: state.state)
    let responder = Responder(
      places: places, layout: layout, ledger: try Ledger(places.ledger), policy: rules,
      control: control,
      dialect: rules.blocking.dialect.flatMap { BadmailfromDialect(rawValue: $0) }
        ?? BadmailfromDialect.detect(qmail: queue.qmail))
    responder.patience = .seconds(10)
    return responder
  }

  /// The administrator's name for the ledger: who used sudo, else the login name, else the uid.
  static var author: String {
    for variable in ["SUDO_USER", "LOGNAME", "USER"] {
      if let value = getenv(variable), value.pointee != 0 {
        return String(String(cString: value).prefix(64))
      }
    }
    return "uid \(getuid())"
  }
}
