import Glibc

/// How many files this process may have open.
public enum DescriptorLimit {
  private static let enough: rlim_t = 16_384

  /// The limit, raised once as far as the system allows and is of use.
  public static let raised: Int = {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 256 }
    let wanted = min(enough, limit.rlim_max)
    if limit.rlim_cur < wanted {
      var more = limit
      more.rlim_cur = wanted
      if setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &more) == 0 { limit = more }
    }
    return Int(clamping: min(limit.rlim_cur, enough))
  }()
}
