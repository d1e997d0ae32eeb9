/// What the first part of `mess/…/ID` tells: where the message came from, list marks, the subject.
///
/// Total on any bytes, linear in their number. Only what qmail itself wrote is believed about the source.
public struct MessageHead: Hashable, Sendable {
  public var source: Source
  /// qmail-queue's process, `qp` in qmail-send's log.
  public var pid: Int?
  /// List-Id or Mailing-List, or Precedence bulk or list.
  public var isList: Bool
  /// Raw, unfolded, undecoded, at most 998 bytes.
  public var subject: [UInt8]
  /// Reading more of the file could tell more: the header did not end here, or the copy inside a bounce was not reached.
  public var isCut: Bool

  /// As ``init(_:)`` of a span, for bytes in an array.
  public init(_ bytes: [UInt8]) { self.init(bytes.span) }

  /// - Parameter bytes: the beginning of the file, or all of it.
  public init(_ bytes: Span<UInt8>) {
    let first = ReceivedField(bytes, at: 0)
    let fields = HeaderFields(bytes, at: 0)
    pid = first.pid
    isList = fields.isList
    subject = fields.subject
    isCut = fields.body == nil
    source = first.source
    guard first.source.isBounce, let body = fields.body else { return }
    switch FailureNotice.origin(bytes, body: body) {
    case .found(let origin): source = .bounce(original: origin)
    case .cut(let known):
      source = .bounce(original: known)
      isCut = true
    case .none: break
    }
  }
}
