import Files
import Mail

/// One thing that is wrong in a queue: what, where, what it means, how to mend it.
public struct QueueFinding: Sendable, Hashable {
  public var fault: QueueFault
  /// Relative to the queue directory, such as `mess/7/1234`. Bytes of a file name: escape it for its sink.
  public var path: String
  /// What was found there, where the fault's name does not say it.
  public var detail: String?
  /// The file it is about, so that a second look knows it again; nil where it is about a file that is missing.
  var witness: Witness?

  /// One file at one moment.
  struct Witness: Sendable, Hashable {
    var inode: UInt64
    var modified: Timestamp

    init(_ status: FileStatus) {
      inode = status.inode
      modified = status.modified
    }
  }
}

/// The kinds of fault, by the rules of qmail's INTERNALS (which files may be there together) and of `hier.c` (owners and modes).
public enum QueueFault: String, Sendable, Hashable, CaseIterable {
  case writing = "being-written"
  case messAlone = "mess-alone"
  case infoWithoutMess = "info-without-mess"
  case todoWithoutMess = "todo-without-mess"
  case intdLeftover = "intd-leftover"
  case channelWithoutInfo = "recipients-without-info"
  case bounceWithoutInfo = "bounce-without-info"
  case bounceAside = "bounce-aside"
  case wrongNumber = "wrong-number"
  case wrongDirectory = "wrong-directory"
  case junk
  case wrongOwner = "wrong-owner"
  case wrongMode = "wrong-mode"
  case missing = "missing"
  case triggerNoFIFO = "trigger-no-fifo"
  case triggerDead = "trigger-dead"
  case tcptoSize = "tcpto-size"
  case tcptoAhead = "tcpto-ahead"

  /// A note only: what may well be right, and mends itself.
  public var isNote: Bool { self == .writing || self == .bounceAside }

  /// What it means for mail, a clause without a final stop.
  public var meaning: String {
    switch self {
    case .writing:
      "a message without envelope: still being written by a slow client, or its qmail-queue has died"
    case .messAlone:
      "a message without envelope, older than 36 h: its qmail-queue has died, and nobody was told that it was accepted"
    case .infoWithoutMess:
      "an envelope without its message: qmail-send cannot deliver it and warns at each try"
    case .todoWithoutMess:
      "a new envelope without its message: qmail-send takes it in and cannot deliver it"
    case .intdLeftover: "a left-over of qmail-queue, which nobody reads"
    case .channelWithoutInfo:
      "recipients without envelope: nobody reads them, until a new message gets the same number"
    case .bounceWithoutInfo:
      "failures of a message that is gone: the next message with this number would send them to its own sender"
    case .bounceAside:
      "failures that qwarden set aside for a message that is gone; qmail-send never reads them"
    case .wrongNumber:
      "its name is not its inode number, as after a copy or a restore: another message can get the same number"
    case .wrongDirectory:
      "not where qmail-send looks for this number, as after a change of conf-split: it is never found"
    case .junk: "not a file of qmail's: qmail leaves it alone, other tools may count it"
    case .wrongOwner: "qmail's programs may not be able to read, mark or remove it"
    case .wrongMode: "qmail's programs may not be able to read it, or others may"
    case .missing: "qmail does not work without it"
    case .triggerNoFIFO:
      "qmail-queue cannot wake qmail-send: new mail waits for up to 25 minutes"
    case .triggerDead:
      "qmail-send runs but does not listen: new mail waits for up to 25 minutes"
    case .tcptoSize:
      "qmail-remote keeps here which hosts do not answer; of any other size it forgets them or reads rubbish"
    case .tcptoAhead:
      "noted when the clock was ahead: qmail-remote may not try these hosts until that time has come"
    }
  }

  /// How an administrator mends it.
  public var remedy: String {
    switch self {
    case .writing: "wait; qmail-send removes it when it is older than 36 h"
    case .messAlone: "nothing to do: qmail-send removes it within a day while it runs"
    case .infoWithoutMess:
      "stop qmail-send and remove info, local, remote and bounce of this number"
    case .todoWithoutMess: "stop qmail-send and remove todo and intd of this number"
    case .intdLeftover: "stop qmail-send and remove it"
    case .channelWithoutInfo: "stop qmail-send and remove it"
    case .bounceWithoutInfo: "stop qmail-send, read it, and remove it"
    case .bounceAside: "nothing to do where qwarden runs; else remove it"
    case .wrongNumber:
      "stop qmail-send and give all files of this message the inode number of its mess file, each in its directory"
    case .wrongDirectory:
      "stop qmail-send and move it to the directory that is its number modulo the number of directories"
    case .junk: "look at it, and move it out of the queue"
    case .wrongOwner: "stop qmail-send and chown it"
    case .wrongMode: "stop qmail-send and chmod it"
    case .missing, .triggerNoFIFO: "stop qmail-send and make it with qmail's `make setup check`"
    case .triggerDead: "restart qmail-send"
    case .tcptoSize: "make it with qmail's `make setup check`, or copy 1024 zero bytes into it"
    case .tcptoAhead: "run qmail-tcpok"
    }
  }
}
