import Mail
import Testing

@Suite struct TimestampTests {
  @Test("a file's time out of range saturates, and lies in the future or the past as it did")
  func outOfRange() {
    let now = Timestamp(seconds: 1_795_000_000)
    #expect(Timestamp(seconds: 1_795_000_000, nanoseconds: 7).nanoseconds == now.nanoseconds + 7)
    for far in [1 << 40, Int.max] {
      let future = Timestamp(seconds: far, nanoseconds: 999_999_999)
      #expect(future > now && now.seconds(since: future) < 0)
      let past = Timestamp(seconds: -far, nanoseconds: 0)
      #expect(past < now && now.seconds(since: past) > 9e9)
    }
  }
}
