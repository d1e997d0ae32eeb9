import Mail

// The clock was set, by hand or by NTP.
extension StormDetector {
  /// What was counted by the old clock cannot be compared with what comes, and begins anew as after a restart; storms that go on stay the
  /// same storms, and what was learned of usual mail is kept. All times known move by `shift`.
  public mutating func clockWasSet(by shift: Duration, at time: Timestamp) {
    let ongoing = storms.map { storm in
      var moved = storm
      moved.began = storm.began + shift
      moved.lastSeen = storm.lastSeen + shift
      return moved
    }
    var fresh = StormDetector(
      settings: settings, localDomains: localDomains, resuming: ongoing, nextIncident: nextIncident)
    fresh.seesAll = seesAll
    fresh.ranks = ranks
    fresh.ranks.restart()
    fresh.acquaintances = acquaintances
    fresh.habits = habits
    fresh.habits.clockWasSet(by: shift)
    fresh.forwarding = forwarding
    fresh.correspondence = correspondence
    fresh.correspondence.clockWasSet(by: shift)
    fresh.groups = groups.begunAnew(from: now, to: time)
    fresh.notices.normal = notices.normal
    fresh.notices.normal.taint()
    fresh.bouncesOut.normal = bouncesOut.normal
    fresh.bouncesOut.normal.taint()
    self = fresh
  }

  /// Whether a message of that birth is of no burst that goes on: older than the window, or born in what is the future since a clock was
  /// set back.
  func isOldNews(_ birth: Timestamp) -> Bool {
    let age = now.seconds(since: birth)
    return age >= settings.window.inSeconds || age < -60
  }
}

extension GroupTable {
  /// The same groups with nothing counted yet but what is usual.
  fileprivate func begunAnew(from old: Timestamp, to new: Timestamp) -> GroupTable {
    var fresh = self
    fresh.rebuild { table in
      table.rebuilt(from: old, to: new) { group in
        var group = group
        group.restart(settings)
        return group
      }
    }
    return fresh
  }
}

extension HeavyHitters {
  /// The same keys with the weight they had, by another clock.
  fileprivate func rebuilt(
    from old: Timestamp, to new: Timestamp, _ value: (Value) -> Value
  ) -> HeavyHitters {
    var fresh = HeavyHitters(like: self)
    for slot in 0..<count {
      let key = key(at: slot)
      _ = fresh.add(key, weight: weight(of: key, at: old), at: new, new: value(self[slot]))
    }
    return fresh
  }
}
