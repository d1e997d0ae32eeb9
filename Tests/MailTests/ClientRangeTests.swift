import Mail
import Testing

@Suite struct ClientRangeTests {
  @Test(
    "a range holds exactly its addresses",
    arguments: [
      ("127.66.6.6", "127.66.6.6", true), ("127.66.6.6", "127.66.6.7", false),
      ("10.0.0.0/8", "10.255.1.2", true), ("10.0.0.0/8", "11.0.0.1", false),
      ("192.168.4.0/22", "192.168.7.255", true), ("192.168.4.0/22", "192.168.8.0", false),
      ("0.0.0.0/0", "1.2.3.4", true), ("2001:db8::/32", "2001:db8:1::5", true),
      ("2001:db8::/32", "2001:db9::5", false), ("::1", "0:0:0:0:0:0:0:1", true),
      ("10.0.0.1", "::ffff:10.0.0.1", true), ("10.0.0.0/8", "unknown", false),
    ])
  func contains(_ range: String, _ client: String, _ expected: Bool) throws {
    #expect(try #require(ClientRange(range)).contains(client) == expected)
  }

  @Test(
    "what is no address is no range",
    arguments: [
      "", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.4/33", "1.2.3.4/", "1.2.3.4/-1", "::1/129",
      "1:2:3", "1::2::3", ":::", "x", "1.2.3.4/8/8", "12345::", "+1::", "1.2.3.+4",
    ])
  func refuses(_ text: String) {
    #expect(ClientRange(text) == nil)
  }
}
