import CLinux

/// Memory that was freed but that malloc keeps.
public enum FreedMemory {
  /// Lets all threads share two of malloc's arenas: Dispatch's threads come and go, and each new one would keep what it freed in one of its own.
  /// Call it before there are threads.
  public static func keepInFewPlaces() { clinux_few_arenas() }

  /// Gives it back to the kernel: for a daemon after a burst that will not come again soon.
  public static func giveBack() { clinux_trim() }
}
