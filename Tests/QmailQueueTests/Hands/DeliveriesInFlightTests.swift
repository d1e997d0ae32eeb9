import Files
import Glibc
import Mail
import Testing

@testable import QmailQueue

@Suite("Deliveries in flight")
struct DeliveriesInFlightTests {
  let queue: HandsFixture
  init() throws { queue = try HandsFixture() }

  @Test(
    "Remote and local deliveries are read off command lines as qmail makes them; others are passed over"
  )
  func commandLines() throws {
    let look = try queue.look([
      ("qmail-rspawn", ["qmail-rspawn"], nil),
      ("qmail-remote", ["qmail-remote", "dom.example", "alice@mx.test", "h@dom.example"], nil),
      ("qmail-remote", ["qmail-remote", "dom.example", "", "n@dom.example"], nil),
      (
        "qmail-local",
        [
          "bin/qmail-local", "--", "alias", "/var/qmail/alias", "joe-bob", "-", "bob", "vdom.test",
          "alice@mx.test", "./Mailbox",
        ], "/var/qmail/queue/mess/16/984255"
      ),
      ("qmail-remote.or", ["/bin/sh", "/x/qmail-remote", "d", "s@x", "r@d"], nil),
      ("bash", ["qmail-remote", "d", "alice@mx.test", "fake@dom.example"], nil),
      ("qmail-remote", ["qmail-remote"], nil),
      ("qmail-local", ["bin/qmail-local", "--", "x"], nil),
    ])
    #expect(look.deliveries.count == 4)
    func isBusy(_ sender: String, _ recipient: String, _ channel: Channel, id: UInt64 = 1) -> Bool {
      look.isDelivering(id, from: Address(sender), to: Address(recipient), over: channel)
    }
    #expect(isBusy("alice@mx.test", "h@dom.example", .remote))
    #expect(!isBusy("alice@mx.test", "h@dom.example", .local))
    #expect(!isBusy("bob@mx.test", "h@dom.example", .remote))
    #expect(isBusy("", "n@dom.example", .remote))
    #expect(isBusy("s@x", "r@d", .remote))
    #expect(!isBusy("alice@mx.test", "fake@dom.example", .remote))
    // Where the number can be read it decides.
    #expect(isBusy("alice@mx.test", "joe-bob@vdom.test", .local, id: 984_255))
    #expect(!isBusy("alice@mx.test", "joe-bob@vdom.test", .local, id: 984_256))
    #expect(look.deliveries.first { $0.channel == .local }?.id == 984_255)
  }

  @Test("A forked child of a spawner that is not yet a delivery is counted")
  func startingUp() throws {
    // The made /proc gives every process the first one's PID as parent.
    let look = try queue.look([
      ("qmail-rspawn", ["qmail-rspawn"], nil), ("qmail-rspawn", ["qmail-rspawn"], nil),
    ])
    #expect(look.startingUp == 2)
  }

  @Test("A VERP sender is compared in the form that the delivery program is given")
  func verp() throws {
    let sender = Address("list-return-7-@lists.test-@[]")
    #expect(
      DeliveriesInFlight.expanded(sender, for: Address("joe@x@mx.test"))
        == Address("list-return-7-joe@x=mx.test@lists.test"))
    #expect(DeliveriesInFlight.expanded(sender, for: Address("nohost")) == sender)
    #expect(DeliveriesInFlight.expanded(Address("x-@[]"), for: Address("a@b")) == Address("x-@[]"))
    #expect(DeliveriesInFlight.expanded(.doubleBounce, for: Address("a@b")) == .doubleBounce)
  }

  @Test("Where the processes of others are hidden nothing is said of deliveries")
  func hidden() throws {
    // As hidepid=2 shows it to a user; hidepid=1 lets nothing in the directory be opened.
    let proc = "\(queue.home)/proc"
    mkdir(proc, 0o755)
    mkdir("\(proc)/1000", 0o755)
    try queue.write("qwarden\n", to: "\(proc)/1000/comm")
    let error = #expect(throws: FileError.self) { try DeliveriesInFlight.look(proc: proc) }
    #expect(error?.isPermission == true && error?.remedy?.contains("hidepid") == true)
  }

  @Test("The real /proc can be looked at by anybody, in milliseconds")
  func real() throws {
    let clock = ContinuousClock()
    var look: DeliveriesInFlight?
    let took = try clock.measure { look = try DeliveriesInFlight.look() }
    #expect(look != nil)
    #expect(took < .milliseconds(500))
  }
}
