import Policy

/// qwarden-policy(5), from the table by which the policy is read.
enum PolicyPage {
  static var text: String {
    var page = Roff("qwarden-policy", section: 5, summary: "what qwarden may do")
    page.section("Synopsis")
    page.example(["/etc/qwarden/policy.yaml"])
    page.section("Description")
    page.paragraphs(
      """
      The policy is a YAML file of sections with settings. Whatever is left out has the default named below, so a file of one line, \
      "mode: enforce", is a whole policy. Every error is told with its line and column by "qwarden check-policy"; the daemon does not start \
      with a policy that has errors, and at a reload it keeps the old one. Anchors and aliases are not taken.

      A duration is a whole number with its unit: s, m, h or d. A share is written as 5% or 0.05.
      """)
    var section: String?
    for setting in PolicySetting.all {
      let parts = setting.name.split(separator: ".").map(String.init)
      let here = parts.count == 2 ? parts[0] : nil
      if here != section || section == nil {
        page.section(here ?? "At the left margin")
        section = here
      }
      page.item(
        "\(parts[parts.count - 1]):",
        "\(setting.explanation)\n\nTakes \(setting.expected). Default: \(setting.initial)")
    }
    page.section("Example")
    page.example([
      "mode: enforce", "detection:", "  messages: 50", "blocking:", "  duration: 12h",
      "  kinds: [relay-sender]", "protect:", "  senders: ['@newsletter.example.com']",
      "  clients: [192.0.2.0/24]",
    ])
    page.section("Files")
    page.item(
      "/etc/qwarden/policy.yaml", "The policy; loaded anew by \"systemctl reload qwarden\".")
    page.section("See also")
    page.paragraphs("qwarden(1), qwarden-run(8)")
    return page.text
  }
}
