/// The exit codes of sysexits(3) that a command of qwarden ends with, as the manual has them. Each error knows its own.
public enum Exit {
  public static let nothingMatched: Int32 = 1
  public static let usage: Int32 = 64
  public static let badData: Int32 = 65
  public static let noQueue: Int32 = 69
  public static let cannotCreate: Int32 = 73
  public static let inputOutput: Int32 = 74
  public static let tryAgain: Int32 = 75
  public static let noPermission: Int32 = 77
  public static let badPolicy: Int32 = 78
}
