import GRDB
import Mail
import Storms
import Testing

@testable import Ledger

@Suite struct IncidentPointTests {
  private let began = Timestamp(seconds: 1_800_000_000)

  private func storm(_ number: Int) -> Storm {
    Storm(
      incident: number, kind: .relaySender, began: began, lastSeen: began,
      offenders: [.sender(Address("a@b.example"))])
  }

  private func point(_ seconds: Double) -> IncidentPoint {
    IncidentPoint(
      time: Timestamp(seconds: began.seconds + seconds), waiting: Int(seconds) % 97, leaving: 1,
      messages: Int(seconds), failed: Int(seconds) / 3, delivered: 0, setAside: 0)
  }

  @Test("a timeline comes back as it was written, oldest first, and only that of its incident")
  func roundTrip() throws {
    let workshop = Workshop()
    let ledger = try Ledger(workshop.database)
    for number in 1...2 { try ledger.record(storm(number)) }
    let points = [-10, 0, 2, 4].map { point($0) }
    try ledger.record(points, incident: 1, began: began)
    try ledger.record([point(9)], incident: 2, began: began)
    try ledger.record([point(6)], incident: 1, began: began)
    #expect(try ledger.points(incident: 1) == points + [point(6)])
    #expect(try ledger.points(incident: 2) == [point(9)])
    #expect(try ledger.points(incident: 3) == [])
  }

  @Test(
    "the storms and points of one look are one transaction each: many storms wait for the disk once"
  )
  func together() throws {
    let workshop = Workshop()
    let ledger = try Ledger(workshop.database)
    try ledger.record((1...3).map(storm))
    #expect(try ledger.openIncidents().map(\.incident) == [1, 2, 3])
    try ledger.record((1...3).map { ([point(Double($0))], $0, began) })
    #expect(try ledger.points(incident: 3) == [point(3)])
    #expect(throws: LedgerError.self) {
      try ledger.record([([point(5)], 1, began), ([point(5)], 4, began)])
    }
    #expect(try ledger.points(incident: 1) == [point(1)])
  }

  @Test(
    "an incident of two days keeps a bounded timeline, even over its whole length, with its latest sums"
  )
  func bounded() throws {
    let workshop = Workshop()
    let ledger = try Ledger(workshop.database)
    try ledger.record(storm(1))
    var last = 0.0
    var written = 0
    var most = 0
    while last < 172_800 {
      try ledger.record([point(last)], incident: 1, began: began)
      written += 1
      if written.isMultiple(of: 50) { most = max(most, try ledger.points(incident: 1).count) }
      last += IncidentPoint.step(age: last)
    }
    #expect(written < 3000)
    #expect(most <= IncidentPoint.most)
    let points = try ledger.points(incident: 1)
    #expect(points.count > IncidentPoint.most / 4)
    #expect(points.last.map { $0.messages > 170_000 } == true)
    let gaps = zip(points, points.dropFirst()).map { $1.time.seconds(since: $0.time) }
    #expect((gaps.max() ?? .infinity) <= 2 * IncidentPoint.step(age: 172_800))
  }

  @Test("a ledger of before there were timelines is brought up to date with what is in it")
  func migrated() throws {
    let workshop = Workshop()
    do {
      let old = try DatabaseQueue(path: workshop.database)
      try old.write { database in
        try database.execute(sql: Schema.steps[0])
        try database.execute(sql: "PRAGMA application_id = \(Schema.applicationID)")
        try database.execute(sql: "PRAGMA user_version = 1")
        try database.execute(
          sql: """
            INSERT INTO incidents VALUES
              (7, 'stall', 1, 2, NULL, 'why', 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, NULL)
            """)
      }
    }
    let ledger = try Ledger(workshop.database)
    #expect(try ledger.incident(7)?.reason == "why")
    #expect(try ledger.points(incident: 7) == [])
    try ledger.record([point(1)], incident: 7, began: began)
    #expect(try ledger.points(incident: 7) == [point(1)])
  }

  @Test("a forgotten incident takes its timeline along")
  func forgotten() throws {
    let workshop = Workshop()
    let ledger = try Ledger(workshop.database)
    var storm = storm(1)
    storm.ended = began
    try ledger.record(storm)
    try ledger.record([point(1)], incident: 1, began: began)
    try ledger.forget(before: Timestamp(seconds: began.seconds + 10))
    #expect(try ledger.points(incident: 1) == [])
  }
}
