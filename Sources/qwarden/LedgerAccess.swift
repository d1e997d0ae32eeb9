import Files
import Glibc
import Ledger
import Mail
import Policy
import QmailControl
import QmailQueue
import Response

extension Ledger {
  /// The ledger for a command that only reads.
  static func reading(_ places: Places) throws(LedgerError) -> Ledger {
    try Ledger(places.forHands.ledger, creating: false)
  }
}

extension LedgerError: CommandFailure {}

extension QuarantineError: CommandFailure {}
extension QueueError: CommandFailure {}
extension ControlError: CommandFailure {}
extension BadmailfromError: CommandFailure {}
extension PolicyErrors: CommandFailure {}
extension Outcome.Failure: CommandFailure {}

/// The hands, for a command.
enum CommandHands {
  static func open(_ places: Places) throws -> Responder {
    let layout = try QueueLayout.read(qmail: places.qmail)
    let control = try ControlDirectory(qmail: places.qmail).read()
    let policy = try places.readPolicy()
    try Folder.make(places.state)
    let ledger = try Ledger(places.forHands.ledger)
    if let shift = try ledger.adopt(WallClock.reading()) {
      Output.complain(
        "note: the clock was set \(shift.setting): what is to run out is moved with it")
    }
    let responder = Responder(
      places: places.forHands, layout: layout, ledger: ledger, policy: policy, control: control,
      dialect: Responder.dialect(policy, qmail: places.qmail))
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
