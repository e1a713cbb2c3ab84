-- The servers of Brigade's own, so that a restarted daemon finds them again: a row from before the process
-- is let to its work until its end is proven. `process` is pid:start, and absent only while it is being started.
CREATE TABLE servers (
    id         TEXT    PRIMARY KEY,
    process    TEXT,
    port       INTEGER NOT NULL,
    password   TEXT    NOT NULL,
    host       TEXT    NOT NULL, -- digest of HOME and XDG folders: whose sessions it serves
    executable TEXT    NOT NULL,
    profile    TEXT    NOT NULL, -- what confines it
    started_at INTEGER NOT NULL
) STRICT;
