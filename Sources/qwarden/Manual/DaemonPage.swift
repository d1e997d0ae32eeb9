import Response
import Systemd

/// qwarden-run(8): the daemon. Events, fields and guards come from the types that the daemon itself uses.
enum DaemonPage {
  static func text(_ tree: CommandTree) -> String {
    var page = Roff("qwarden-run", section: 8, summary: "the daemon that watches a qmail queue")
    page.section("Synopsis")
    page.example(["qwarden run [options]", "systemctl start qwarden"])
    page.section("Description")
    if let run = tree.commands.first(where: { $0.name == "run" }) {
      page.paragraphs(run.discussion)
    }
    page.paragraphs(
      """
      The queue is watched by inotify, so new mail is read at once, and gone over whole from time to time. qmail-send's log is followed \
      beside it. When a storm begins, when a suspected one becomes certain, when it changes its kind or offenders or grows tenfold, and when \
      it ends, there is one event; between them none.

      In mode observe, which is how it ships, nothing is touched: events say what would have been done. In mode enforce a sender is written \
      into control/badmailfrom for a time, and the storm's messages are set aside: copied to the state directory, then marked as done with \
      the same one-byte write that qmail-send makes, so that qmail-send itself removes them, without delivery and without bounce.

      Only one daemon works on a state directory.
      """)
    page.section("Options")
    if let run = tree.commands.first(where: { $0.name == "run" }) {
      for argument in run.own { CommandsPage.add(argument, to: &page) }
    }
    page.section("Signals")
    page.item("SIGTERM, SIGINT", "End, after what is under way.")
    page.item("SIGHUP", "Read the policy again; one with errors is refused, and the old one stays.")
    page.item("SIGUSR1", "Go over all names at once and say how the queue stands.")
    page.section("Under systemd")
    page.paragraphs(
      """
      The unit is of Type=notify: it counts as started after a first look that is bounded, however long the queue is; the rest is read \
      then, and the status line says how far that is. The keep-alive of WatchdogSec follows. A wrong policy is refused by "qwarden check-policy" before start and reload. The daemon runs as \
      qmail-send's user, qmails, without any capability. It cannot write control/: systemd starts qwarden-badmailfrom@.service for that, \
      on a socket that only the daemon may use. It cannot inject mail either, so "qwarden release" is run by hand.

      A queue of another owner: name the owner of queue/info in both units (User=, SocketUser=). A log that neither that user nor the \
      groups adm and systemd-journal may read: add the group that may (SupplementaryGroups=).
      """)
    page.section("Events")
    page.paragraphs(
      """
      Each event is an entry in the journal with a MESSAGE_ID that never changes: "journalctl MESSAGE_ID=..." finds them, "journalctl -x" \
      explains them. With --json the same goes to standard output, a line each.
      """)
    for id in MessageID.allCases {
      page.item(id.rawValue, "\(meaning(id))\n\nMESSAGE_ID=\(id.id)")
    }
    page.section("Journal fields")
    page.paragraphs("Beside MESSAGE, MESSAGE_ID and PRIORITY:")
    page.item("QWARDEN_EVENT", "The event's name, as above.")
    for field in JournalField.Name.allCases { page.item(field.rawValue, meaning(field)) }
    page.section("Guards")
    page.paragraphs(
      "What holds the hand. What was held is told once a storm, with the reason.")
    for each in Guard.allCases { page.item(each.rawValue, meaning(each)) }
    page.section("Metrics")
    page.paragraphs(
      """
      Where the policy names a file (metrics.file), the figures of the queue, of mail that flows, of storms and of what was done are written \
      there every five seconds, by rename, in the text format of Prometheus; "HELP" lines in it say what each is. Counters begin anew with \
      the daemon. No address, user or host gets into it. The file goes away when the daemon ends.
      """)
    page.section("Files")
    for (path, meaning) in CommandsPage.files { page.item(path, meaning) }
    page.section("Exit status")
    page.paragraphs(
      "0 after SIGTERM and after --once; 64, 65, 69, 73, 74, 77 and 78 as in qwarden(1).")
    page.section("See also")
    page.paragraphs(
      "qwarden(1), qwarden-policy(5), qmail-send(8), systemd.service(5), journalctl(1)")
    return page.text
  }

  private static func meaning(_ id: MessageID) -> String {
    switch id {
    case .stormBegan: "A storm is seen: what, who, how many, since when."
    case .stormChanged:
      "A suspected storm became certain, its kind or offenders are others, or it has grown tenfold."
    case .stormEnded: "It is over."
    case .blockAdded: "A sender was written into badmailfrom."
    case .blockHeld: "A guard, or mode observe, kept a block back."
    case .blockRemoved: "A block expired or was lifted."
    case .blockProblem: "badmailfrom cannot be written."
    case .quarantined: "Messages were set aside, or deleted as a command had ordered."
    case .quarantineHeld: "A guard, or mode observe, left messages where they are."
    case .quarantineProblem: "What could not be set aside whole stays in the queue."
    case .released: "Messages went back into the queue."
    case .policyReloaded: "A new policy is in force."
    case .policyRefused: "The policy has errors; the old one stays in force."
    case .queueUnreadable: "The queue cannot be read: qwarden is blind until it can."
    case .queueReadable: "The queue can be read again."
    case .started: "The daemon watches."
    case .stopping: "It ends, and why."
    case .recovered: "What the last run left half done, and what became of it."
    case .degraded: "A part of the watch fails and the rest goes on."
    case .restored: "What degraded, block-problem or quarantine-problem told of is over."
    case .looked: "How the queue stands, after SIGUSR1."
    }
  }

  private static func meaning(_ field: JournalField.Name) -> String {
    switch field {
    case .incident: "Number of the incident."
    case .kind: "Kind of storm, such as relay-sender."
    case .offenderType: "What the offender is: sender, client, user, uid or sender-domain."
    case .offender: "Who is behind it. May appear more than once."
    case .victim: "Who is flooded, or whose address is forged."
    case .action: "What was done or held: alert, block or quarantine."
    case .mode: "observe or enforce."
    case .messages: "How many messages."
    case .reason: "Why, in one line."
    case .until: "When a block expires, as 2026-11-24T21:32:00Z."
    case .id: "Number of a message in the queue."
    case .path: "The file or directory it is about."
    }
  }

  private static func meaning(_ each: Guard) -> String {
    switch each {
    case .observeMode: "The mode is observe."
    case .switchedOff: "blocking or quarantine is switched off in the policy."
    case .kind: "The policy does not name this kind of storm."
    case .nullSender: "The null sender and the sender of double bounces are never blocked."
    case .grammar: "The address is not plain enough to stand in badmailfrom."
    case .localDomain: "A whole domain of ours is never blocked."
    case .wholeDomain: "The policy does not allow to block a whole domain."
    case .roleAddress: "postmaster, abuse and mailer-daemon of ours are never blocked."
    case .protected: "It is on the protect list."
    case .victim: "It is the forged sender of mail that we bounced."
    case .manySenders: "The storm has not one steady sender."
    case .listSender: "It is the sender of a mailing list."
    case .localSender:
      "It is ours, and no failures prove that its account is abused, or the policy forbids it."
    case .grace: "An administrator unblocked it not long ago."
    case .dialect: "How this qmail-smtpd reads badmailfrom is not known."
    case .blocksPerHour: "As many blocks as the policy allows were made in this hour."
    case .messagesPerStorm: "As many messages as the policy allows were set aside in this storm."
    case .shareOfQueue: "It would be a greater share of the queue than the policy allows."
    case .freeSpace: "The state directory's disk is too full."
    case .freeInodes: "The state directory's disk has too few free inodes."
    }
  }
}
