-- A ledger as version 5 of the schema had it. Never edit: it stands for those in the field.
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
CREATE INDEX quarantine_identity ON quarantine(id, birth);
CREATE INDEX quarantine_state ON quarantine(state, number);
CREATE INDEX quarantine_departing ON quarantine(number)
  WHERE marked IS NOT NULL AND gone IS NULL;
CREATE INDEX quarantine_incident ON quarantine(incident, state, gone)
  WHERE incident IS NOT NULL;
CREATE INDEX quarantine_ordered ON quarantine(copied)
  WHERE incident IS NULL AND gone IS NULL AND copied IS NOT NULL;
CREATE INDEX quarantine_released ON quarantine(release_pid, release_started)
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

CREATE TABLE clock (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  boot TEXT NOT NULL,
  ahead INTEGER NOT NULL
) STRICT;

INSERT INTO incidents VALUES (7,'relay-sender',1795000000000000000,1795000060000000000,NULL,'alice@mx.test sends 300 messages',300,900,120,40,360,392,1,2,3,1,0.25);
INSERT INTO incident_offenders VALUES (7,0,'sender',X'616C696365406D782E74657374');
INSERT INTO incident_victims VALUES (7,0,'bob@mx.test');
INSERT INTO incident_samples VALUES (7,0,999733);
INSERT INTO incident_points VALUES (7,1795000060000000000,360,12,300,120,40,90);
INSERT INTO blocks VALUES (3,X'616C696365406D782E74657374',7,NULL,'relay-sender',1795000000000000000,1795086400000000000,'active',NULL,NULL,NULL);
INSERT INTO graces VALUES (X'6361726F6C406D782E74657374',1795600000000000000,'root');
INSERT INTO quarantine VALUES (11,999733,1794999990000000000,7,'gone',X'616C696365406D782E74657374',1559,2,1,X'7370616D','network','198.18.0.9','alice',NULL,
  1795000001000000000,1795000002000000000,1795000003000000000,1795000403000000000,NULL,1796209600000000000,NULL,NULL,NULL,NULL,0);
INSERT INTO actions VALUES (5,7,'block',X'616C696365406D782E74657374','done','',1795000000000000000,1795000000000000000,1);
PRAGMA application_id = 1903653476;
PRAGMA user_version = 5;
