import CLinux
import Glibc

extension Descriptor {
  /// Whether somebody has this file, which is open for reading, open for writing. When not: whoever opens it for writing waits until this
  /// descriptor is closed, and is seen by asking again (a read lease: fcntl(2), F_SETLEASE).
  ///
  /// False also where it cannot be known: leases are given to the file's owner and with CAP_LEASE, and not by every filesystem (NFS).
  public func isBeingWritten() -> Bool { clinux_read_lease(number) != 0 && errno == EAGAIN }
}
