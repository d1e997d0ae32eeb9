/// The files that one message may have in the queue (INTERNALS).
public enum QueueFile: String, Sendable, Hashable, CaseIterable {
  case mess, info, local, remote, todo, intd, bounce
}
