import Mail
import Policy
import QmailControl
import Storms
import Testing

@testable import Response

/// Each guard holds what it must, and lets pass what it must.
@Suite struct PlannerTests {
  private static let noon = Timestamp(seconds: 1_795_000_000)

  /// A case of the table: how it differs from a plan that passes.
  struct Case: Sendable, CustomTestStringConvertible {
    var name: String
    var kind = StormKind.relaySender
    var offenders: [Offender] = [.sender(Address("joe@foreign.example"))]
    var victims: [String] = []
    var policy: @Sendable (inout Policy) -> Void = { _ in }
    var context: @Sendable (inout PlanningContext) -> Void = { _ in }
    var evidence: @Sendable (inout Evidence) -> Void = { _ in }
    /// nil: performed.
    var held: Guard?
    var says = ""

    var testDescription: String { name }
  }

  private static func sender(_ text: String) -> [Offender] { [.sender(Address(text))] }

  private static let cases: [Case] = [
    Case(name: "a foreign sender is blocked"),
    Case(
      name: "observe mode says what it would do", policy: { $0.mode = .observe },
      held: .observeMode, says: "would"),
    Case(
      name: "switched off", policy: { $0.blocking.isEnabled = false }, held: .switchedOff),
    Case(name: "the null sender", offenders: sender(""), held: .nullSender),
    Case(name: "the double bounce sender", offenders: sender("#@[]"), held: .nullSender),
    Case(name: "a sender with a newline", offenders: sender("a\n@x.example"), held: .grammar),
    Case(name: "a sender without a domain", offenders: sender("root"), held: .grammar),
    Case(
      name: "bytes that are no ASCII",
      offenders: [.sender(Address([0xE4] + Array("@x.example".utf8)))],
      held: .grammar),
    Case(
      name: "a local domain as a whole", offenders: [.senderDomain(Domain("mx.test"))],
      policy: { $0.blocking.wholeDomains = true }, held: .localDomain),
    Case(
      name: "a foreign domain as a whole", offenders: [.senderDomain(Domain("foreign.example"))],
      held: .wholeDomain, says: "whole-domains"),
    Case(
      name: "a foreign domain as a whole, where the policy says so",
      offenders: [.senderDomain(Domain("foreign.example"))],
      policy: { $0.blocking.wholeDomains = true }),
    Case(
      name: "postmaster here", offenders: sender("postmaster@mx.test"), held: .roleAddress),
    Case(name: "abuse here, in capitals", offenders: sender("ABUSE@MX.TEST"), held: .roleAddress),
    Case(name: "postmaster elsewhere", offenders: sender("postmaster@foreign.example")),
    Case(
      name: "a protected sender", policy: { $0.protect.senders = ["joe@foreign.example"] },
      held: .protected),
    Case(
      name: "a protected sender's domain", policy: { $0.protect.senders = ["@foreign.example"] },
      held: .protected),
    Case(
      name: "the whole domain of a protected sender",
      offenders: [.senderDomain(Domain("foreign.example"))],
      policy: {
        $0.blocking.wholeDomains = true; $0.protect.senders = ["news@foreign.example"]
      }, held: .protected, says: "news@foreign.example"),
    Case(
      name: "a whole domain that a protected sender's ends with",
      offenders: [.senderDomain(Domain("foreign.example"))],
      policy: {
        $0.blocking.wholeDomains = true
        $0.protect.senders = ["news@not-foreign.example", "@sub.foreign.example"]
      }),
    Case(
      name: "a subdomain of a protected one",
      policy: { $0.protect.senders = ["@example"] }),
    Case(
      name: "a protected client",
      offenders: sender("joe@foreign.example") + [.client("198.18.7.9")],
      policy: { $0.protect.clients = ["198.18.0.0/16"] }, held: .protected, says: "198.18.0.0/16"),
    Case(
      name: "a protected user", offenders: sender("joe@foreign.example") + [.user("news")],
      policy: { $0.protect.users = ["news"] }, held: .protected),
    Case(
      name: "a protected uid", offenders: sender("joe@foreign.example") + [.uid(38)],
      policy: { $0.protect.uids = [38] }, held: .protected),
    Case(name: "a victim", victims: ["JOE@foreign.example"], held: .victim),
    Case(name: "a victim's domain", victims: ["foreign.example"], held: .victim),
    Case(name: "somebody else is a victim", victims: ["bob@mx.test"]),
    Case(
      name: "a kind that the policy does not answer with blocks", kind: .relaySource,
      held: .kind, says: "relay-source"),
    Case(
      name: "a local script, and its lever",
      kind: .localScript, offenders: sender("joe@foreign.example") + [.uid(33)],
      held: .kind, says: "ps -o pid,lstart,args -u 33"),
    Case(
      name: "several forged senders of bounced mail", kind: .bounceOut,
      offenders: sender("a@x.example") + sender("b@y.example"), held: .manySenders),
    Case(name: "one steady sender of bounced mail", kind: .bounceOut),
    Case(
      name: "a VERP sender",
      offenders: sender("list-return-7-joe=example.com@foreign.example"), held: .listSender),
    Case(
      name: "mail with list marks",
      evidence: {
        $0.listMarked = 60; $0.failuresProven = false
      },
      held: .listSender),
    Case(
      name: "list marks do not help where failures prove the storm",
      evidence: { $0.listMarked = 60 }),
    Case(name: "a hijacked account, proven", offenders: sender("alice@mx.test")),
    Case(
      name: "a hijacked account, not proven", offenders: sender("alice@mx.test"),
      evidence: {
        $0.failuresProven = false; $0.failed = 4; $0.delivered = 100
      },
      held: .localSender, says: "4 of 300"),
    Case(
      name: "a hijacked account, strong evidence", offenders: sender("alice@mx.test"),
      evidence: {
        $0.failuresProven = false
        $0.failed = 60
        $0.delivered = 60
        $0.lingering = 180
      }),
    Case(
      name: "an outage is no evidence against an account", offenders: sender("alice@mx.test"),
      evidence: {
        $0.failuresProven = false; $0.lingering = 300
      }, held: .localSender),
    Case(
      name: "local senders switched off", offenders: sender("alice@mx.test"),
      policy: { $0.blocking.localSenders = false }, held: .localSender, says: "local-senders"),
    Case(
      name: "a local sender in another kind of storm", kind: .bounceOut,
      offenders: sender("alice@mx.test"), held: .localSender),
    Case(
      name: "a local sender that virtualdomains names by itself", kind: .bounceOut,
      context: {
        $0.control = ControlSnapshot(
          me: Domain("mx.test"),
          virtualdomains: [Address("joe@foreign.example"): Address("joe")])
      }, held: .localSender),
    Case(
      name: "unblocked by an administrator",
      context: { $0.graces[Address("joe@foreign.example")] = noon + .seconds(1) }, held: .grace),
    Case(
      name: "unblocked long ago",
      context: { $0.graces[Address("joe@foreign.example")] = noon }),
    Case(name: "unknown dialect", context: { $0.dialect = nil }, held: .dialect, says: "dialect"),
    Case(
      name: "the hourly cap", context: { $0.blocksThisHour = 10 }, held: .blocksPerHour, says: "10"),
    Case(name: "below the hourly cap", context: { $0.blocksThisHour = 9 }),
  ]

  private static func context() -> PlanningContext {
    PlanningContext(
      now: noon, control: ControlSnapshot(me: Domain("mx.test")), dialect: .stock)
  }

  @Test("blocks: every guard holds, and lets pass", arguments: cases)
  func blocks(_ test: Case) throws {
    var policy = Policy()
    policy.mode = .enforce
    test.policy(&policy)
    var context = Self.context()
    test.context(&context)
    var storm = Storm.test(test.kind, offenders: test.offenders, victims: test.victims)
    test.evidence(&storm.evidence)
    let planned = ResponsePlanner.plan(.began(storm), policy: policy, context: context)
    #expect(planned.first?.action == .alert)
    let block = try #require(planned.dropFirst().first)
    switch block.decision {
    case .perform: #expect(test.held == nil)
    case .hold(let by, let why):
      #expect(by == test.held)
      #expect(why.contains(test.says))
      #expect(why.hasSuffix(".") || why.hasSuffix(")"), "a full sentence: \(why)")
      #expect(why.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7F }, "safe to print: \(why)")
    }
  }

  @Test("the hourly cap counts the blocks of the same plan")
  func capWithinPlan() {
    var policy = Policy()
    policy.mode = .enforce
    policy.blocking.perHour = 2
    let offenders = (0..<4).map { Offender.sender(Address("u\($0)@foreign.example")) }
    let planned = ResponsePlanner.blocks(
      for: .test(offenders: offenders), policy: policy, context: Self.context())
    #expect(planned.map(\.decision.isHeld) == [false, false, true, true])
  }

  @Test("what is blocked already is not planned again; repeats last longer, up to the longest")
  func repeats() throws {
    let policy = Policy()
    var context = Self.context()
    let joe = Address("joe@foreign.example")
    let storm = Storm.test(offenders: [.sender(Address("Joe@Foreign.example"))])
    func lasting() throws -> Duration {
      let planned = ResponsePlanner.blocks(for: storm, policy: policy, context: context)
      guard case .block(joe, let lasting)? = planned.first?.action else { return .zero }
      return lasting
    }
    #expect(try lasting() == .seconds(86_400))
    context.earlierBlocks[joe] = 2
    #expect(try lasting() == .seconds(4 * 86_400))
    context.earlierBlocks[joe] = 1000
    #expect(try lasting() == .seconds(30 * 86_400))
    context.standingBlocks = [joe]
    #expect(ResponsePlanner.blocks(for: storm, policy: policy, context: context) == [])
  }

  @Test("clients, users and uids give no block but a lever with a line to type, hostile names none")
  func advice() {
    let storm = Storm.test(
      .relaySource,
      offenders: [
        .client("198.18.0.9"), .user("alice"), .uid(33), .client("1.2.3.4:allow\n"),
        .client("10.0.0.0/8"), .user("x; rm -rf /"),
      ])
    let planned = ResponsePlanner.plan(.began(storm), policy: Policy(), context: Self.context())
    #expect(planned.count == 1)
    #expect(
      planned[0].advice.map(\.line) == [
        "198.18.0.9:deny", "passwd -l alice", "ps -o pid,lstart,args -u 33", nil,
      ])
    for kind in [StormKind.backscatterIn, .bounceOut] {
      #expect(Advice.against(.test(kind, offenders: [])).map(\.lever) == [.recipientChecking])
    }
    #expect(Advice.against(.test(.stall, offenders: [])).map(\.lever) == [.qmailSend])
    // The queue may be anywhere.
    #expect(Advice.against(.test(.stall, offenders: [])).first?.line?.contains("/") == false)
    #expect(Advice.against(.test(.surge, offenders: [])) == [])
  }

  @Test("the end of a storm is an alert and nothing else")
  func ended() {
    let planned = ResponsePlanner.plan(
      .ended(.test()), policy: Policy(), context: Self.context())
    #expect(planned.map(\.action) == [.alert])
  }

  // MARK: Quarantine

  struct Holding: Sendable, CustomTestStringConvertible {
    var name: String
    var kind = StormKind.relaySender
    var policy: @Sendable (inout Policy) -> Void = { _ in }
    var context: @Sendable (inout PlanningContext) -> Void = { _ in }
    var entry: Entry?
    var held: Guard?
    var says = ""

    var testDescription: String { name }
  }

  private static let identity = EntryIdentity(id: 7, birth: noon)
  private static let mail = Entry(
    identity: identity, sender: Address("alice@mx.test"),
    source: .network(client: "198.18.0.9", helo: nil, user: "alice"))
  private static let notice = Entry(
    identity: identity,
    source: .bounce(
      original: .init(
        sender: Address("ceo@mx.test"),
        source: .network(client: "198.18.0.9", helo: nil, user: nil))))

  private static let holdings: [Holding] = [
    Holding(name: "a storm's message is set aside", entry: mail),
    Holding(name: "observe mode", policy: { $0.mode = .observe }, held: .observeMode),
    Holding(
      name: "switched off", policy: { $0.quarantine.isEnabled = false }, held: .switchedOff),
    Holding(name: "a surge", kind: .surge, held: .kind),
    Holding(name: "a storm that is not known", context: { $0.storms = [:] }, held: .kind),
    Holding(
      name: "a protected sender", policy: { $0.protect.senders = ["alice@mx.test"] }, entry: mail,
      held: .protected),
    Holding(
      name: "a protected client", policy: { $0.protect.clients = ["198.18.0.9"] }, entry: mail,
      held: .protected),
    Holding(
      name: "a protected user", policy: { $0.protect.users = ["alice"] }, entry: mail,
      held: .protected),
    Holding(
      name: "a bounce of a protected sender's mail",
      policy: { $0.protect.senders = ["ceo@mx.test"] },
      entry: notice, held: .protected),
    Holding(
      name: "somebody else is protected", policy: { $0.protect.users = ["bob"] }, entry: mail),
    Holding(
      name: "the storm's cap", policy: { $0.quarantine.perStorm = 5 },
      context: { $0.quarantined[1] = 5 }, held: .messagesPerStorm, says: "have been set aside"),
    Holding(
      name: "the storm's cap, where nothing is set aside",
      policy: {
        $0.mode = .observe; $0.quarantine.perStorm = 5
      },
      context: { $0.quarantined[1] = 5 }, held: .messagesPerStorm,
      says: "would have been set aside"),
    Holding(
      name: "below the storm's cap", policy: { $0.quarantine.perStorm = 5 },
      context: { $0.quarantined[1] = 4 }),
    Holding(
      name: "the share of the queue", policy: { $0.quarantine.shareOfQueue = 0.5 },
      context: { $0.quarantined[1] = 50 }, held: .shareOfQueue),
    Holding(
      name: "below the share: those gone count on both sides",
      policy: { $0.quarantine.shareOfQueue = 0.5 },
      context: {
        $0.quarantined[1] = 50; $0.quarantinedGone[1] = 40
      }),
    Holding(name: "little space", context: { $0.freeSpace = 0.04 }, held: .freeSpace),
    Holding(name: "few inodes", context: { $0.freeInodes = 0.04 }, held: .freeInodes),
    Holding(
      name: "just enough",
      context: {
        $0.freeSpace = 0.05; $0.freeInodes = 0.05
      }),
  ]

  @Test("quarantine: every guard holds, and lets pass", arguments: holdings)
  func quarantine(_ test: Holding) throws {
    var policy = Policy()
    policy.mode = .enforce
    test.policy(&policy)
    var context = Self.context()
    context.queueMessages = 100
    context.storms = [1: .test(test.kind)]
    test.context(&context)
    let planned = ResponsePlanner.plan(
      .joined(incident: 1, Self.identity), policy: policy, context: context, entry: test.entry)
    #expect(planned.map(\.action) == [.quarantine(Self.identity)])
    switch try #require(planned.first).decision {
    case .perform: #expect(test.held == nil)
    case .hold(let by, let why):
      #expect(by == test.held)
      #expect(why.hasSuffix("."), "a full sentence: \(why)")
      #expect(test.says.isEmpty || why.contains(test.says), "\(why)")
    }
  }
}
