-- The private copies that write-capable delegations work in. A row goes before its folder comes, and stays after the
-- folder's tree has gone: what was changed is told by it.
CREATE TABLE worktrees (
    id         TEXT    PRIMARY KEY,          -- the folder's name: the delegation that it was made for
    delegation INTEGER NOT NULL REFERENCES delegations (seq) ON DELETE CASCADE, -- the last that works in it
    state      TEXT    NOT NULL,             -- taken, ready, removed, discarded
    setup      TEXT,                         -- how the setup command ended, in words
    bytes      INTEGER NOT NULL DEFAULT 0,   -- of its tree, as last seen
    made_at    INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;
CREATE INDEX worktrees_by_delegation ON worktrees (delegation);
CREATE INDEX worktrees_there         ON worktrees (id, delegation, bytes) WHERE state IN ('taken', 'ready');

-- What was brought into a person's tree, and what was taken out of it again.
CREATE TABLE applies (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    delegation INTEGER NOT NULL REFERENCES delegations (seq) ON DELETE CASCADE,
    top        TEXT    NOT NULL,             -- the person's tree
    tree_before TEXT   NOT NULL,             -- its state before, as git names that tree
    tree_after TEXT    NOT NULL,             -- and after
    state      TEXT    NOT NULL,             -- writing, applied, rolled_back, undone
    whole      INTEGER NOT NULL,             -- 1 where nothing of the changes was left out
    files      INTEGER NOT NULL,
    by         TEXT    NOT NULL,             -- model, person
    at         INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;
CREATE INDEX applies_by_delegation ON applies (delegation, seq);
CREATE INDEX applies_open          ON applies (seq) WHERE state = 'writing';
