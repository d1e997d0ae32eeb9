import CLinux

/// Memory that was freed but that malloc keeps.
public enum FreedMemory {
  /// Gives it back to the kernel: for a daemon after a burst that will not come again soon.
  public static func giveBack() { clinux_trim() }
}
