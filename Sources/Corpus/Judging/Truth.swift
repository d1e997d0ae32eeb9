import Mail

/// What ought to be found in a trace: the `NAME.truth.json` beside it.
public struct Truth: Sendable, Hashable {
  public struct Offender: Sendable, Hashable {
    /// `sender`, `client`, `user`, `uid` or `sender-domain`.
    public var type: String
    public var value: String
  }

  public struct Storm: Sendable, Hashable {
    public var kind: String
    /// First and last injection, unix time.
    public var begins: Double
    public var ends: Double
    public var offenders: [Offender] = []
    public var victims: [String] = []
    /// badmailfrom entries that are rightful.
    public var blockable: [String] = []
    /// Messages, where they are known.
    public var messages: Int?

    public init(kind: String, begins: Double, ends: Double) {
      (self.kind, self.begins, self.ends) = (kind, begins, ends)
    }
  }

  public struct Failure: Error, Sendable, Hashable, CustomStringConvertible {
    public var description: String
  }

  public var storms: [Storm] = []
  /// Senders and clients that must not be blocked or quarantined.
  public var innocents: Set<String> = []
  public var note = ""

  public init() {}

  public init(_ bytes: [UInt8]) throws(Failure) {
    let value: JSONValue
    do throws(JSONValue.Malformed) {
      value = try JSONValue(bytes[...])
    } catch {
      throw Failure(description: "bad JSON at byte \(error.offset + 1): expected \(error.expected)")
    }
    guard let list = value["storms"]?.array else {
      throw Failure(description: "no list \"storms\"")
    }
    func strings(_ value: JSONValue?) -> [String] { (value?.array ?? []).compactMap(\.string) }
    for item in list {
      guard let kind = item["kind"]?.string, let begins = item["begins"]?.number,
        let ends = item["ends"]?.number
      else { throw Failure(description: "a storm lacks kind, begins or ends") }
      var storm = Storm(kind: kind, begins: begins, ends: ends)
      storm.offenders = (item["offenders"]?.array ?? []).compactMap { offender in
        guard let type = offender["type"]?.string, let value = offender["value"]?.string else {
          return nil
        }
        return Offender(type: type, value: value)
      }
      storm.victims = strings(item["victims"])
      storm.blockable = strings(item["blockable"])
      storms.append(storm)
    }
    innocents = Set(strings(value["innocents"]))
    note = value["note"]?.string ?? ""
  }

  /// The same in the form it is read in.
  public var json: [UInt8] {
    var line = JSONLine()
    line.add(
      "storms",
      storms.map { storm in
        var line = JSONLine()
        line.add("kind", storm.kind)
        line.add("begins", storm.begins)
        line.add("ends", storm.ends)
        line.add(
          "offenders",
          storm.offenders.map { offender in
            var line = JSONLine()
            line.add("type", offender.type)
            line.add("value", offender.value)
            return line
          })
        line.add("victims", storm.victims)
        line.add("blockable", storm.blockable)
        return line
      })
    line.add("innocents", innocents.sorted())
    line.add("note", note)
    return line.closed + [UInt8(ascii: "\n")]
  }
}
