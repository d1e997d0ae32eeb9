/// Where the files of an entry are: what the hands need to know of a queue's layout.
public struct QueuePaths: Sendable, Hashable {
  public enum Kind: String, Sendable { case mess, info, local, remote, todo, bounce }

  public let queue: String
  public let split: UInt64
  public let todoIsSplit: Bool

  public init(queue: String, split: Int, todoIsSplit: Bool = false) {
    self.queue = queue
    self.split = UInt64(max(split, 1))
    self.todoIsSplit = todoIsSplit
  }

  public func path(_ kind: Kind, _ id: UInt64) -> String {
    switch kind {
    case .bounce: "\(queue)/bounce/\(id)"
    case .todo where !todoIsSplit: "\(queue)/todo/\(id)"
    default: "\(queue)/\(kind.rawValue)/\(id % split)/\(id)"
    }
  }
}
