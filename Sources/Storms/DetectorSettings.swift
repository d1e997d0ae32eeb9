/// Thresholds of the detector. The defaults are what the shipped policy says.
public struct DetectorSettings: Sendable, Hashable {
  public init() {}
}
