import Files

/// How a queue is laid out on disk, read off its directories: builds of qmail differ in `conf-split` and in what they split.
public struct QueueLayout: Sendable, Hashable {
  /// qmail's home, `/var/qmail`.
  public let qmail: String
  /// The queue directory, usually `/var/qmail/queue`.
  public let queue: String
  /// Number of subdirectories of `mess`, `info`, `local` and `remote`: `0 … split-1` (conf-split, usually 23).
  public let split: Int
  /// Big-todo builds split `todo` and `intd` like `mess`.
  public let todoIsSplit: Bool
  public let intdIsSplit: Bool
  /// Further channel directories (sagredo's build has two), which qwarden does not read.
  public let extraChannels: [String]
  /// What is unusual about this queue, a sentence each.
  public let notes: [String]

  /// Looks at the directories; opens no message.
  /// - Parameter qmail: qmail's home; the queue is `queue` in it.
  public static func read(qmail: String) throws(QueueError) -> QueueLayout {
    let queue = qmail == "/" ? "/queue" : "\(qmail)/queue"
    let top: Descriptor
    do { top = try Descriptor.open(queue, [.directory, .following]) } catch {
      if error.isMissing {
        throw QueueError(
          .noQueue, queue, "there is no qmail queue here",
          remedy: "name qmail's directory with --qmail (usually /var/qmail)")
      }
      throw QueueError(error)
    }
    var directories: [String] = []
    do {
      try top.forEachName { name, _ in
        directories.append(String(decoding: name, as: UTF8.self))
      }
    } catch { throw QueueError(error) }
    let names = Set(directories)
    let expected = ["mess", "info", "local", "remote", "todo", "bounce"]
    let missing = expected.filter { !names.contains($0) }
    guard missing.isEmpty else {
      if let inner = names.filter({ $0.hasPrefix("queue") && Int($0.dropFirst(5)) != nil })
        .min(by: { ($0.count, $0) < ($1.count, $1) })
      {
        throw QueueError(
          .notAQueue, queue, "holds several queues (\(inner) …), as IndiMail lays them out",
          remedy:
            "give --qmail a directory whose `queue` is one of them, such as a link to \(inner)")
      }
      throw QueueError(
        .notAQueue, queue, "is not a qmail queue: it has no \(missing.joined(separator: ", no "))",
        remedy: "name qmail's directory with --qmail (usually /var/qmail)")
    }
    let mess = try numbers(in: "mess", of: top)
    let split = mess.contiguous
    guard split > 0 else {
      throw QueueError(
        .notAQueue, "\(queue)/mess", "has no subdirectories 0, 1, …",
        remedy: "let qmail's own `make setup check` make the queue directories")
    }
    var notes: [String] = []
    if mess.all > split {
      notes.append("mess has numbered directories beyond \(split - 1), which are not read")
    }
    for name in ["info", "local", "remote"] {
      // Members of group qmail may count mess and todo, as qmail-qstat does, but not look in here.
      guard let found = try? numbers(in: name, of: top).contiguous else { continue }
      if found != split {
        notes.append(
          "\(name) has \(found) subdirectories, but mess has \(split): qmail was rebuilt with another conf-split?"
        )
      }
    }
    let todoIsSplit = try numbers(in: "todo", of: top).contiguous >= split
    // intd is private to qmailq; who cannot look assumes what big-todo builds do.
    let intdIsSplit =
      ((try? numbers(in: "intd", of: top))?.contiguous).map { $0 >= split } ?? todoIsSplit
    let known = Set(expected + ["intd", "pid", "lock"])
    var extra: [String] = []
    for name in names.subtracting(known).sorted() {
      if let found = try? numbers(in: name, of: top), found.contiguous == split {
        extra.append(name)
      }
    }
    if !extra.isEmpty {
      notes.append("further channels are not read: \(extra.joined(separator: ", "))")
    }
    if todoIsSplit { notes.append("todo is split (a big-todo build)") }
    return QueueLayout(
      qmail: qmail, queue: queue, split: split, todoIsSplit: todoIsSplit, intdIsSplit: intdIsSplit,
      extraChannels: extra, notes: notes)
  }

  /// Where a file of message `id` is, or would be.
  public func path(_ kind: QueueFile, _ id: UInt64) -> String {
    isSplit(kind)
      ? "\(queue)/\(kind.rawValue)/\(id % UInt64(split))/\(id)" : "\(queue)/\(kind.rawValue)/\(id)"
  }

  /// Whether this kind of file is spread over `split` subdirectories.
  public func isSplit(_ kind: QueueFile) -> Bool {
    switch kind {
    case .mess, .info, .local, .remote: true
    case .todo: todoIsSplit
    case .intd: intdIsSplit
    case .bounce: false
    }
  }

  /// How many of the directories `0, 1, 2 …` are there without a gap, and how many numbered ones in all.
  private static func numbers(in name: String, of top: borrowing Descriptor) throws(QueueError)
    -> (contiguous: Int, all: Int)
  {
    var found: Set<UInt64> = []
    do {
      let directory = try top.open(name, [.directory, .following])
      try directory.forEachName { name, isDirectory in
        if isDirectory, let number = name.queueNumber { found.insert(number) }
      }
    } catch { throw QueueError(error) }
    var next: UInt64 = 0
    while found.contains(next) { next += 1 }
    return (Int(next), found.count)
  }
}
