import GRDB

/// The tables. A change is a new step at the end, never an edit of one that was released.
enum Schema {
  /// `qwrd`: tells our databases from everyone else's (SQLite's file header, offset 68).
  static let applicationID: Int32 = 0x7177_7264
  static var version: Int { steps.count }

  /// Step n takes a database from version n to n + 1.
  static let steps: [String] = [
    """
    CREATE TABLE incidents (
      number INTEGER PRIMARY KEY AUTOINCREMENT,
      kind TEXT NOT NULL,
      began INTEGER NOT NULL,
      last_seen INTEGER NOT NULL,
      ended INTEGER,
      reason TEXT NOT NULL,
      messages INTEGER NOT NULL,
      recipients INTEGER NOT NULL,
      failed INTEGER NOT NULL,
      delivered INTEGER NOT NULL,
      lingering INTEGER NOT NULL,
      recipient_domains INTEGER NOT NULL,
      senders INTEGER NOT NULL,
      clients INTEGER NOT NULL,
      list_marked INTEGER NOT NULL,
      failures_proven INTEGER NOT NULL,
      normal_per_minute REAL
    ) STRICT;
    CREATE TABLE incident_offenders (
      incident INTEGER NOT NULL REFERENCES incidents(number) ON DELETE CASCADE,
      position INTEGER NOT NULL,
      type TEXT NOT NULL,
      value BLOB NOT NULL,
      PRIMARY KEY (incident, position)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE incident_victims (
      incident INTEGER NOT NULL REFERENCES incidents(number) ON DELETE CASCADE,
      position INTEGER NOT NULL,
      value TEXT NOT NULL,
      PRIMARY KEY (incident, position)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE incident_samples (
      incident INTEGER NOT NULL REFERENCES incidents(number) ON DELETE CASCADE,
      position INTEGER NOT NULL,
      id INTEGER NOT NULL,
      PRIMARY KEY (incident, position)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX incidents_open ON incidents(number) WHERE ended IS NULL;

    CREATE TABLE blocks (
      number INTEGER PRIMARY KEY AUTOINCREMENT,
      entry BLOB NOT NULL,
      incident INTEGER,
      author TEXT,
      reason TEXT NOT NULL,
      created INTEGER NOT NULL,
      expires INTEGER NOT NULL,
      state TEXT NOT NULL,
      removed INTEGER,
      removed_why TEXT,
      removed_by TEXT
    ) STRICT;
    CREATE UNIQUE INDEX blocks_standing ON blocks(entry) WHERE state IN ('intended', 'active');
    CREATE INDEX blocks_of_entry ON blocks(entry, created);
    CREATE INDEX blocks_created ON blocks(created);
    CREATE TABLE graces (
      entry BLOB NOT NULL PRIMARY KEY,
      until INTEGER NOT NULL,
      author TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE quarantine (
      number INTEGER PRIMARY KEY AUTOINCREMENT,
      id INTEGER NOT NULL,
      birth INTEGER NOT NULL,
      incident INTEGER,
      state TEXT NOT NULL,
      sender BLOB NOT NULL,
      size INTEGER NOT NULL,
      recipients INTEGER NOT NULL,
      in_doubt INTEGER NOT NULL,
      subject BLOB NOT NULL,
      via TEXT NOT NULL,
      client TEXT,
      user TEXT,
      uid INTEGER,
      intended INTEGER NOT NULL,
      copied INTEGER,
      marked INTEGER,
      gone INTEGER,
      closed INTEGER,
      expires INTEGER NOT NULL,
      note TEXT,
      release_pid INTEGER,
      release_started INTEGER,
      release_in_doubt INTEGER,
      released INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE UNIQUE INDEX quarantine_open ON quarantine(id, birth)
      WHERE state NOT IN ('released', 'expired', 'abandoned');
    CREATE INDEX quarantine_identity ON quarantine(id, birth);
    CREATE INDEX quarantine_state ON quarantine(state, number);
    CREATE INDEX quarantine_departing ON quarantine(number)
      WHERE marked IS NOT NULL AND gone IS NULL;
    CREATE INDEX quarantine_incident ON quarantine(incident, state, gone);
    CREATE INDEX quarantine_released ON quarantine(release_started, release_pid)
      WHERE release_started IS NOT NULL;

    CREATE TABLE actions (
      number INTEGER PRIMARY KEY AUTOINCREMENT,
      incident INTEGER,
      action TEXT NOT NULL,
      value BLOB NOT NULL,
      outcome TEXT NOT NULL,
      why TEXT NOT NULL,
      first INTEGER NOT NULL,
      last INTEGER NOT NULL,
      times INTEGER NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX actions_alike
      ON actions(ifnull(incident, 0), action, value, outcome, why);
    """,
    """
    CREATE TABLE incident_points (
      incident INTEGER NOT NULL REFERENCES incidents(number) ON DELETE CASCADE,
      time INTEGER NOT NULL,
      waiting INTEGER NOT NULL,
      leaving INTEGER NOT NULL,
      messages INTEGER NOT NULL,
      failed INTEGER NOT NULL,
      delivered INTEGER NOT NULL,
      set_aside INTEGER NOT NULL,
      PRIMARY KEY (incident, time)
    ) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE clock (
      only INTEGER PRIMARY KEY CHECK (only = 1),
      boot TEXT NOT NULL,
      ahead INTEGER NOT NULL
    ) STRICT;
    """,
    // Half of what a row cost. That a message has one open row is seen to where it is inserted.
    """
    DROP INDEX quarantine_open;
    DROP INDEX quarantine_incident;
    CREATE INDEX quarantine_incident ON quarantine(incident, state, gone)
      WHERE incident IS NOT NULL;
    """,
    // What the daemon asks at every look must not cost more the more there is in quarantine.
    """
    CREATE INDEX quarantine_ordered ON quarantine(copied)
      WHERE incident IS NULL AND gone IS NULL AND copied IS NOT NULL;
    DROP INDEX quarantine_released;
    CREATE INDEX quarantine_released ON quarantine(release_pid, release_started)
      WHERE release_started IS NOT NULL;
    """,
    // Nor what it asks while many wait for their departure, or for their time to run out.
    """
    CREATE INDEX quarantine_doubtful ON quarantine(number)
      WHERE marked IS NOT NULL AND gone IS NULL AND in_doubt > 0;
    CREATE INDEX quarantine_expiring ON quarantine(expires) WHERE state = 'gone';
    """,
  ]

  /// Brings a database to ``version``, inside the caller's transaction.
  static func migrate(_ database: Database, from version: Int) throws {
    for step in steps[version...] { try database.execute(sql: step) }
    try database.execute(sql: "PRAGMA application_id = \(applicationID)")
    try database.execute(sql: "PRAGMA user_version = \(steps.count)")
  }
}
