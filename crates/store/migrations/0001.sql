-- Delegations as they stand. `seq` is the order of registration. Times are milliseconds since 1970.
-- What people list stands in columns of its own; `record` is the rest of the state machine's record.
CREATE TABLE delegations (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT    NOT NULL UNIQUE,
    project       TEXT    NOT NULL,
    root          TEXT    NOT NULL,
    parent        TEXT    NOT NULL,
    batch         INTEGER NOT NULL,
    child         TEXT,
    agent         TEXT    NOT NULL,
    title         TEXT    NOT NULL,
    summary       TEXT    NOT NULL DEFAULT '',
    state         TEXT    NOT NULL,
    phase         TEXT    NOT NULL,
    active        INTEGER NOT NULL DEFAULT 1, -- 0 once terminal
    attempt       INTEGER NOT NULL DEFAULT 0,
    version       INTEGER NOT NULL DEFAULT 1, -- counts up with every transition
    registered_at INTEGER NOT NULL,
    started_at    INTEGER,
    ended_at      INTEGER,
    read_at       INTEGER,
    artifact      TEXT,
    ran_ms        INTEGER NOT NULL DEFAULT 0, -- of the current attempt
    progress      TEXT,
    record        TEXT    NOT NULL
) STRICT;
CREATE INDEX delegations_by_project ON delegations (project, seq, state);
CREATE INDEX delegations_by_root    ON delegations (root, seq, state);
CREATE INDEX delegations_by_batch   ON delegations (parent, batch, active);
CREATE INDEX delegations_by_state   ON delegations (state);
CREATE INDEX delegations_active     ON delegations (root) WHERE active = 1;
CREATE INDEX delegations_unread     ON delegations (root, seq) WHERE active = 0 AND read_at IS NULL;

-- The prompts: long and never changing, so they are not part of the record that each transition writes.
CREATE TABLE prompts (
    delegation INTEGER PRIMARY KEY REFERENCES delegations (seq) ON DELETE CASCADE,
    prompt     TEXT NOT NULL,
    digest     TEXT NOT NULL   -- of agent and prompt (half of a SHA-256), to know a repeated delegation by
) STRICT;
CREATE INDEX prompts_by_digest ON prompts (digest);

-- The answer: as it streams, and from the decision on for good.
CREATE TABLE texts (
    delegation INTEGER PRIMARY KEY REFERENCES delegations (seq) ON DELETE CASCADE,
    attempt    INTEGER NOT NULL,
    decided    INTEGER NOT NULL,
    text       TEXT    NOT NULL
) STRICT;

CREATE TABLE events (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    delegation INTEGER NOT NULL REFERENCES delegations (seq) ON DELETE CASCADE,
    at         INTEGER NOT NULL,
    event      TEXT    NOT NULL
) STRICT;
CREATE INDEX events_by_delegation ON events (delegation);

CREATE TABLE reads (
    delegation INTEGER NOT NULL REFERENCES delegations (seq) ON DELETE CASCADE,
    at         INTEGER NOT NULL,
    reader     TEXT    NOT NULL
) STRICT;
CREATE INDEX reads_by_delegation ON reads (delegation);

-- One notice for each delegation that ended and whose parent is to hear of it.
CREATE TABLE notices (
    delegation   INTEGER PRIMARY KEY REFERENCES delegations (seq) ON DELETE CASCADE,
    parent       TEXT    NOT NULL,
    batch        INTEGER NOT NULL,
    remaining    INTEGER NOT NULL,
    model_part   TEXT    NOT NULL,
    person_part  TEXT    NOT NULL,
    state        TEXT    NOT NULL DEFAULT 'pending',
    channel      TEXT,
    connection   TEXT,
    message      TEXT,
    created_at   INTEGER NOT NULL,
    changed_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX notices_open       ON notices (parent, delegation) WHERE state IN ('pending', 'leased', 'sending');
CREATE INDEX notices_by_batch   ON notices (parent, batch);

-- The waking of a parent, decided with the end that makes it due.
CREATE TABLE wakes (
    delegation INTEGER PRIMARY KEY REFERENCES delegations (seq) ON DELETE CASCADE,
    parent     TEXT    NOT NULL,
    batch      INTEGER NOT NULL,
    state      TEXT    NOT NULL DEFAULT 'due',
    message    TEXT,
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;
CREATE INDEX wakes_open       ON wakes (parent, delegation) WHERE state IN ('due', 'sending');

-- Artifacts without a record here: the predecessor's. Found anew by path, size and time of change.
CREATE TABLE foreign_artifacts (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    path         TEXT    NOT NULL UNIQUE,
    id           TEXT    NOT NULL,
    project      TEXT    NOT NULL,
    root         TEXT    NOT NULL,
    agent        TEXT    NOT NULL,
    title        TEXT    NOT NULL,
    summary      TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    started_at   INTEGER NOT NULL,
    completed_at INTEGER,
    modified_ns  INTEGER NOT NULL,
    size         INTEGER NOT NULL
) STRICT;
CREATE INDEX foreign_by_id      ON foreign_artifacts (id);
CREATE INDEX foreign_by_project ON foreign_artifacts (project, started_at);
CREATE INDEX foreign_by_root    ON foreign_artifacts (root, started_at);
CREATE INDEX foreign_by_start   ON foreign_artifacts (started_at);

-- rowid: `delegations.seq`, or minus `foreign_artifacts.seq`.
CREATE VIRTUAL TABLE search USING fts5 (
    project, title, summary, prompt, result,
    tokenize = 'porter unicode61'
);
