import Mail
import QmailSimulator

/// A value for each of qmail's two channels.
private struct PerChannel<Value> {
  var local: Value
  var remote: Value
  init(_ value: Value) { (local, remote) = (value, value) }
  subscript(channel: Channel) -> Value {
    get { channel == .local ? local : remote }
    _modify {
      if channel == .local { yield &local } else { yield &remote }
    }
  }
}
extension PerChannel: Sendable where Value: Sendable {}

/// A qmail-send in memory and virtual time, with a poller that looks every quarter of a second: gives the observations of a recorded trace
/// (arrivals, progress, departures, counts and the lines of the log) without a file, a million messages in seconds.
///
/// What the queue does is as in qmail-send.c: first attempts in the order of birth, at most 10 local and 20 remote at a time, retries at
/// birth + (√age + 10 or 20)², bounces when the last recipient is done, numbers used again at once.
public struct VirtualQmail: Sendable {
  /// Who answers otherwise for a while.
  public struct Outage: Sendable {
    public var from: Double
    public var to: Double
    /// Domains that defer everything; empty: no name can be looked up, so all remote mail waits.
    public var domains: Set<Domain>

    public init(from: Double, to: Double, domains: Set<Domain> = []) {
      self.from = from
      self.to = to
      self.domains = domains
    }
  }

  public static let ours = Domain("mx.test")
  static let networkUID: UInt32 = 1002
  static let aliasUID: UInt32 = 1001
  static let bounceUID: UInt32 = 1006

  public let start: Timestamp
  public var outages: [Outage] = []
  /// Times at which qmail-send does not run: mail gathers in todo.
  public var stalls: [(from: Double, to: Double)] = []
  /// Local users; mail for others at our domain fails.
  public var users: Set<Address> = []
  /// Local mailboxes that defer always.
  public var fullMailboxes: Set<Address> = []
  public var hasLog = true
  /// Each observation with the storm that an arrival belongs to; its own bounces belong to the storm of their original.
  public typealias Take = (Observation, _ storm: Int?) -> Void

  private enum Event {
    case mail(stream: Int)
    case takeIn(slot: Int)
    case due(Channel)
    case answer(slot: Int, recipient: Int, delivery: UInt64)
    case resume
    case inject(MadeMessage)
  }

  private struct Item {
    var message: MadeMessage
    var id: UInt64
    var birth: Double
    var queued: Double
    var pid: Int
    var isLocal: [Bool] = []
    var isDone: [Bool] = []
    var failed = 0
    var doneLocal = 0
    var doneRemote = 0
    var inTodo = true
    var isGone = false
    var isDirty = false
    var isSeen = false
    /// Deliveries under way, by channel.
    var waiting = PerChannel(0)
  }

  private var dice: SplitMix64
  private var now = 0.0
  private var events = MinHeap<Event>()
  private var streams: [any MailStream] = []
  private var upcoming: [MadeMessage?] = []
  private var items: [Item] = []
  private var freeSlots: [Int] = []
  private var freeIDs = MinHeap<UInt64>()
  private var nextID: UInt64 = 1_410_590
  private var pid = 4000
  private var delivery: UInt64 = 0
  private var flying = PerChannel(0)
  private var queue = PerChannel(MinHeap<Int>())
  /// The pass that is starting deliveries on each channel: message, next recipient.
  private var pass = PerChannel<(slot: Int, recipient: Int)?>(nil)
  private var dirty: [Int] = []
  private var inTodo = 0
  private var inQueue = 0
  private var nextPoll = 0.0
  private var nextCounts = 0.0
  /// When the messages of each storm were put in, in seconds since the start.
  public private(set) var injected: [Int: [Double]] = [:]
  public private(set) var messages = 0

  public init(start: Timestamp, seed: UInt64) {
    self.start = start
    dice = SplitMix64(seed: seed &* 7919 &+ 17)
  }

  public mutating func add(_ stream: some MailStream) {
    streams.append(stream)
    upcoming.append(nil)
  }

  /// A message that waits since before the start, deferred.
  public mutating func addOld(_ message: MadeMessage, age: Double) {
    let slot = place(message, at: -age)
    items[slot].inTodo = false
    inTodo -= 1
    var channels: Set<Channel> = []
    for place in items[slot].isLocal.indices {
      channels.insert(items[slot].isLocal[place] ? .local : .remote)
    }
    for channel in channels {
      queue[channel].insert(slot, due: retry(-age, age: age, channel))
      events.insert(.due(channel), due: retry(-age, age: age, channel))
    }
  }

  /// Runs for so many seconds.
  public mutating func run(for seconds: Double, take: Take) {
    for place in streams.indices { schedule(place) }
    for stall in stalls { events.insert(.resume, due: stall.to) }
    while let first = events.first, first.due < seconds {
      while nextPoll <= first.due { poll(take) }
      guard let (due, event) = events.removeFirst() else { break }
      now = max(now, due)
      handle(event, take)
    }
    while nextPoll <= seconds { poll(take) }
  }

  private mutating func schedule(_ place: Int) {
    guard let (at, message) = streams[place].next() else { return }
    upcoming[place] = message
    events.insert(.mail(stream: place), due: at)
  }

  private var isDown: Bool { stalls.contains { $0.from <= now && now < $0.to } }

  private mutating func handle(_ event: Event, _ take: Take) {
    switch event {
    case .mail(let place):
      if let message = upcoming[place] { inject(message) }
      schedule(place)
    case .inject(let message): inject(message)
    case .takeIn(let slot):
      if !isDown { takeIn(slot, take) }
    case .resume:
      var delay = 0.0
      for slot in items.indices where items[slot].inTodo && !items[slot].isGone {
        delay += 0.004
        events.insert(.takeIn(slot: slot), due: now + delay)
      }
      for channel in [Channel.local, .remote] { events.insert(.due(channel), due: now + 0.01) }
    case .due(let channel):
      if !isDown { startDeliveries(channel, take) }
    case .answer(let slot, let recipient, let delivery): answer(slot, recipient, delivery, take)
    }
  }

  // MARK: The queue

  private mutating func inject(_ message: MadeMessage) {
    let slot = place(message, at: now)
    messages += 1
    if let storm = message.storm, message.source.isBounce == false {
      injected[storm, default: []].append(now)
    }
    events.insert(.takeIn(slot: slot), due: now + 0.001 + 0.001 * chance())
  }

  private mutating func place(_ message: MadeMessage, at time: Double) -> Int {
    pid += 1 + Int(chance() * 4)
    if pid > 32_000 { pid = 4000 }
    let id: UInt64
    if let free = freeIDs.removeFirst() {
      id = free.item
    } else {
      id = nextID
      nextID += 1
    }
    var item = Item(message: message, id: id, birth: time, queued: time, pid: pid)
    item.isLocal = message.recipients.map { $0.address.domain == Self.ours }
    item.isDone = item.isLocal.map { _ in false }
    item.isDirty = true
    inTodo += 1
    inQueue += 1
    if let slot = freeSlots.popLast() {
      items[slot] = item
      dirty.append(slot)
      return slot
    }
    items.append(item)
    dirty.append(items.count - 1)
    return items.count - 1
  }

  private mutating func takeIn(_ slot: Int, _ take: Take) {
    guard items[slot].inTodo else { return }
    let item = items[slot]
    items[slot].inTodo = false
    items[slot].birth = now
    inTodo -= 1
    touch(slot)
    log(.new(id: item.id), take)
    let uid: UInt32 =
      switch item.message.source {
      case .network: Self.networkUID
      case .uid(let uid): uid
      case .bounce: Self.bounceUID
      case .alias, .unknown: Self.aliasUID
      }
    log(
      .info(
        id: item.id, bytes: item.message.size, sender: item.message.sender, pid: item.pid,
        uid: uid), take)
    if item.isLocal.isEmpty {
      finish(slot, take)
      return
    }
    for channel in [Channel.local, .remote] where item.isLocal.contains(channel == .local) {
      queue[channel].insert(slot, due: now)
      startDeliveries(channel, take)
    }
  }

  private func limit(_ channel: Channel) -> Int { channel == .local ? 10 : 20 }

  private mutating func startDeliveries(_ channel: Channel, _ take: Take) {
    while flying[channel] < limit(channel) {
      guard let (slot, first) = pass[channel] else {
        guard let next = queue[channel].first, next.due <= now else { return }
        _ = queue[channel].removeFirst()
        pass[channel] = (next.item, 0)
        continue
      }
      let item = items[slot]
      guard
        let recipient = (first..<item.isDone.count).first(where: {
          !item.isDone[$0] && item.isLocal[$0] == (channel == .local)
        })
      else {
        pass[channel] = nil
        if item.waiting[channel] == 0 { passEnded(slot, channel, take) }
        continue
      }
      pass[channel] = (slot, recipient + 1)
      delivery += 1
      flying[channel] += 1
      items[slot].waiting[channel] += 1
      log(
        .starting(
          delivery: delivery, id: item.id, channel: channel,
          recipient: item.message.recipients[recipient].address), take)
      status(take)
      events.insert(
        .answer(slot: slot, recipient: recipient, delivery: delivery),
        due: now + duration(channel))
    }
  }

  private mutating func answer(
    _ slot: Int, _ recipient: Int, _ delivery: UInt64, _ take: Take
  ) {
    let item = items[slot]
    let channel: Channel = item.isLocal[recipient] ? .local : .remote
    flying[channel] -= 1
    items[slot].waiting[channel] -= 1
    switch outcome(item, recipient) {
    case .success:
      done(slot, recipient)
      log(
        .outcome(delivery: delivery, .success, text: channel == .local ? "did_1+0+0/" : "ok/"), take
      )
      if let forward = item.message.recipients[recipient].forward {
        var message = MadeMessage(
          item.message.sender, .alias, to: [.init(forward.address, forward.fate)],
          subject: item.message.subject)
        message.isList = item.message.isList
        events.insert(.inject(message), due: now)
      }
    case .failure:
      done(slot, recipient)
      items[slot].failed += 1
      let text = channel == .local ? "Sorry,_no_mailbox_here_by_that_name._(#5.1.1)/" : "550/"
      log(.outcome(delivery: delivery, .failure, text: text), take)
    case .deferral:
      touch(slot)
      log(.outcome(delivery: delivery, .deferral, text: "451/"), take)
    }
    status(take)
    if items[slot].isDone.allSatisfy({ $0 }) {
      if items[slot].waiting.local + items[slot].waiting.remote == 0 {
        if let (passing, _) = pass[channel], passing == slot { pass[channel] = nil }
        finish(slot, take)
      }
    } else if items[slot].waiting[channel] == 0, pass[channel]?.slot != slot {
      passEnded(slot, channel, take)
    }
    if !isDown { startDeliveries(channel, take) }
  }

  /// All recipients of the channel have been tried: the others wait for the next time.
  private mutating func passEnded(_ slot: Int, _ channel: Channel, _ take: Take) {
    let item = items[slot]
    guard !item.isGone,
      item.isDone.indices.contains(where: {
        !item.isDone[$0] && item.isLocal[$0] == (channel == .local)
      })
    else { return }
    let due = retry(item.birth, age: max(0, now - item.birth), channel)
    queue[channel].insert(slot, due: due)
    events.insert(.due(channel), due: due)
  }

  /// nextretry() of qmail-send.c.
  private func retry(_ birth: Double, age: Double, _ channel: Channel) -> Double {
    let step = age.squareRoot().rounded(.down) + (channel == .local ? 10 : 20)
    return birth + step * step
  }

  private mutating func done(_ slot: Int, _ recipient: Int) {
    guard !items[slot].isDone[recipient] else { return }
    items[slot].isDone[recipient] = true
    if items[slot].isLocal[recipient] {
      items[slot].doneLocal += 1
    } else {
      items[slot].doneRemote += 1
    }
    touch(slot)
  }

  private func outcome(_ item: Item, _ recipient: Int) -> SendLogLine.Outcome {
    let to = item.message.recipients[recipient]
    if item.isLocal[recipient] {
      if fullMailboxes.contains(to.address) { return .deferral }
    } else if outages.contains(where: {
      $0.from <= now && now < $0.to
        && ($0.domains.isEmpty || $0.domains.contains(to.address.domain))
    }) {
      return .deferral
    }
    switch to.fate {
    case .accept: return .success
    case .reject: return .failure
    case .deferred: return .deferral
    case .later(let age): return now - item.birth >= age ? .success : .deferral
    }
  }

  /// Every recipient is done: the bounce, if any, and then the end.
  private mutating func finish(_ slot: Int, _ take: Take) {
    let item = items[slot]
    guard !item.isGone else { return }
    if item.failed > 0 {
      if item.message.sender.isDoubleBounce {
        log(.other(text: "triple bounce: discarding bounce/\(item.id)"), take)
      } else {
        bounce(item, take)
      }
    }
    log(.end(id: item.id), take)
    items[slot].isGone = true
    inQueue -= 1
    freeIDs.insert(item.id, due: Double(item.id))
    touch(slot)
  }

  private mutating func bounce(_ item: Item, _ take: Take) {
    let sender = item.message.sender
    let origin: Source.Origin? =
      switch item.message.source {
      case .bounce(let original): original
      case .network, .uid: .init(sender: sender, source: item.message.source)
      case .alias, .unknown: .init(sender: sender, source: .alias)
      }
    let target: Address = sender.isNull ? Address("postmaster@mx.test") : bounceAddress(sender)
    let fate: Fate =
      target.domain == Self.ours
      ? (users.contains(target) || target.verpStem != nil || sender.isNull ? .accept : .reject)
      : item.message.senderFate
    var message = MadeMessage(
      sender.isNull ? .doubleBounce : .null, .bounce(original: origin),
      to: [.init(target, fate)], subject: "failure notice", storm: item.message.storm)
    message.size = item.message.size + 700
    log(.bounce(id: item.id, pid: pid + 1), take)
    events.insert(.inject(message), due: now + 0.0005)
  }

  /// A newsletter's bounces go to its sender made for the recipient; one stands for all here.
  private func bounceAddress(_ sender: Address) -> Address {
    sender.isQmailVERP ? Address("news-return-7-x=y.example@mx.test") : sender
  }

  // MARK: The poller

  private mutating func touch(_ slot: Int) {
    guard !items[slot].isDirty else { return }
    items[slot].isDirty = true
    dirty.append(slot)
  }

  private mutating func poll(_ take: Take) {
    let time = stamp(nextPoll)
    if !dirty.isEmpty {
      let changed = dirty.sorted { items[$0].id < items[$1].id }
      dirty.removeAll(keepingCapacity: true)
      for slot in changed where items[slot].isGone {
        if items[slot].isSeen {
          take(Observation(time: time, event: .departure(id: items[slot].id)), nil)
        }
        freeSlots.append(slot)
      }
      for slot in changed where !items[slot].isGone {
        items[slot].isDirty = false
        if items[slot].inTodo {
          touch(slot)
        } else {
          look(slot, time, take)
        }
      }
    }
    if nextPoll >= nextCounts {
      take(
        Observation(
          time: time, event: .counts(QueueCounts(messages: inQueue, unprocessed: inTodo))), nil)
      nextCounts += 1
    }
    nextPoll += 0.25
  }

  private mutating func look(_ slot: Int, _ time: Timestamp, _ take: Take) {
    let item = items[slot]
    if !item.isSeen {
      items[slot].isSeen = true
      var entry = Entry(
        identity: EntryIdentity(id: item.id, birth: stamp(item.birth)), size: item.message.size,
        sender: item.message.sender, source: item.message.source, isList: item.message.isList,
        subject: Array(item.message.subject.utf8))
      for (place, recipient) in item.message.recipients.enumerated() {
        if item.isLocal[place] {
          entry.local.append(Mail.Recipient(address: recipient.address))
        } else {
          entry.remote.append(Mail.Recipient(address: recipient.address))
        }
      }
      take(Observation(time: time, event: .arrival(entry)), item.message.storm)
      if item.doneLocal + item.doneRemote == 0 && item.failed == 0 { return }
    }
    take(
      Observation(
        time: time,
        event: .progress(
          .init(
            id: item.id, doneLocal: item.doneLocal, doneRemote: item.doneRemote,
            isBouncing: item.failed > 0))), nil)
  }

  // MARK: Small things

  private mutating func chance() -> Double { Double.random(in: 0..<1, using: &dice) }

  /// As measured with a sink on the loopback: local 3–7 ms, remote 0.06–0.45 s, once in a while seconds.
  private mutating func duration(_ channel: Channel) -> Double {
    let x = chance()
    if channel == .local { return 0.003 + 0.004 * x }
    return x > 0.995 ? 5 + chance() : 0.02 + 0.1 * x + 0.35 * x * x * x * x
  }

  private func stamp(_ seconds: Double) -> Timestamp {
    // Milliseconds, as traces have them.
    Timestamp(nanoseconds: start.nanoseconds + Int64((seconds * 1000).rounded()) * 1_000_000)
  }

  private func log(_ line: SendLogLine, _ take: Take) {
    if hasLog { take(Observation(time: stamp(now), event: .log(line)), nil) }
  }

  private func status(_ take: Take) {
    guard hasLog else { return }
    let text =
      "local \(flying.local)/10 remote \(flying.remote)/20"
    log(.status(text: text), take)
  }
}
