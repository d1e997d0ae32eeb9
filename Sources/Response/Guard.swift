/// What can hold a hand. Named so that one reason is told once a storm, however its words change with the figures.
public enum Guard: String, Sendable, Hashable, CaseIterable {
  case observeMode = "observe-mode"
  case switchedOff = "switched-off"
  case kind
  case nullSender = "null-sender"
  case grammar
  case localDomain = "local-domain"
  case wholeDomain = "whole-domain"
  case roleAddress = "role-address"
  case protected
  case victim
  case manySenders = "many-senders"
  case listSender = "list-sender"
  case localSender = "local-sender"
  case grace
  case dialect
  case blocksPerHour = "blocks-per-hour"
  case messagesPerStorm = "messages-per-storm"
  case shareOfQueue = "share-of-queue"
  case freeSpace = "free-space"
  case freeInodes = "free-inodes"
}
