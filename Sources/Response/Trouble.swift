import Files
import Ledger
import QmailControl
import QmailQueue

/// Why a piece of work ended early: what the rooms below throw, as one type.
enum Trouble: Error {
  /// A test stopped it: as if killed.
  case stopped
  /// Another process keeps the hands busy.
  case busy(String)
  case ledger(LedgerError)
  case file(FileError)
  case store(QuarantineError)
  case refusal(RetirementRefusal)
  case badmailfrom(BadmailfromError)
  case injection(InjectionError)
  /// The disk is nearly full, and so is left alone.
  case noRoom(String)
  case other(String)

  init(_ error: any Error) {
    switch error {
    case let error as Trouble: self = error
    case let error as LedgerError: self = .ledger(error)
    case let error as FileError: self = .file(error)
    case let error as QuarantineError: self = .store(error)
    case let error as RetirementRefusal: self = .refusal(error)
    case let error as BadmailfromError: self = .badmailfrom(error)
    case let error as InjectionError: self = .injection(error)
    default: self = .other("\(error)")
    }
  }

  /// Another message may fare better.
  var isOfOneMessage: Bool {
    switch self {
    case .file, .store, .refusal, .injection, .other: true
    case .stopped, .busy, .ledger, .badmailfrom, .noRoom: false
    }
  }

  /// One line with path and remedy.
  var why: String {
    switch self {
    case .stopped: "stopped"
    case .busy(let path): "\(path): another qwarden is at work; try again"
    case .ledger(let error): "\(error)"
    case .file(let error): "\(error)"
    case .store(let error): "\(error)"
    case .refusal(let error): "\(error)"
    case .badmailfrom(let error): "\(error)"
    case .injection(let error): "\(error)"
    case .noRoom(let text), .other(let text): text
    }
  }

  var exitCode: Int32 {
    switch self {
    case .stopped, .busy: Exit.tryAgain
    case .ledger(let error): error.exitCode
    case .file(let error), .refusal(.file(let error)): error.exitCode
    case .store(let error), .refusal(.store(let error)): error.exitCode
    case .badmailfrom(let error): error.exitCode
    case .injection(let error): error.isTemporary ? Exit.tryAgain : Exit.badData
    case .noRoom: Exit.inputOutput
    case .refusal, .other: Exit.badData
    }
  }
}

/// Runs `body`, and makes what it throws one type.
@discardableResult
func attempt<T: ~Copyable>(_ body: () throws -> T) throws(Trouble) -> T {
  do { return try body() } catch { throw Trouble(error) }
}
