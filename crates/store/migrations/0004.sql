-- What is counted, sorted and summed, in columns of its own: `progress` and `record` are JSON. Whatever writes
-- those writes these in the same statement.
ALTER TABLE delegations ADD COLUMN model      TEXT    NOT NULL DEFAULT ''; -- provider/model, '' while unknown
ALTER TABLE delegations ADD COLUMN tokens_in  INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delegations ADD COLUMN tokens_out INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delegations ADD COLUMN cost       REAL    NOT NULL DEFAULT 0;
ALTER TABLE delegations ADD COLUMN spent_ms   INTEGER NOT NULL DEFAULT 0;  -- running time of earlier attempts
ALTER TABLE delegations ADD COLUMN day        TEXT;                        -- the local day of its end, YYYY-MM-DD
ALTER TABLE delegations ADD COLUMN seen       INTEGER NOT NULL DEFAULT 0;  -- somebody has read it: it is in `reads`

UPDATE delegations SET
    model = coalesce(
        json_extract(progress, '$.model'),
        json_extract(record, '$.spec.model.providerID') || '/' || json_extract(record, '$.spec.model.modelID')
            || coalesce(' (' || json_extract(record, '$.spec.model.variant') || ')', ''),
        ''),
    tokens_in  = coalesce(json_extract(progress, '$.tokens_in'), 0),
    tokens_out = coalesce(json_extract(progress, '$.tokens_out'), 0),
    cost       = coalesce(json_extract(progress, '$.cost'), 0),
    spent_ms   = coalesce(json_extract(record, '$.spent_ms'), 0),
    day        = CASE WHEN active = 0 THEN date(coalesce(ended_at, registered_at) / 1000, 'unixepoch', 'localtime') END,
    seen       = EXISTS (SELECT 1 FROM reads r WHERE r.delegation = delegations.seq);

-- Covering indexes: lists, sums and counts read these alone, and never the wide rows.
DROP INDEX delegations_by_project;
DROP INDEX delegations_by_root;
DROP INDEX delegations_by_state;
DROP INDEX delegations_active;
CREATE INDEX delegations_by_project ON delegations
    (project, seq, state, agent, root, active, read_at, seen, registered_at, ended_at, day, model,
     tokens_in, tokens_out, cost, spent_ms, ran_ms);
CREATE INDEX delegations_by_root ON delegations
    (root, seq, state, agent, project, active, read_at, seen, registered_at, ended_at, day, model,
     tokens_in, tokens_out, cost, spent_ms, ran_ms);
CREATE INDEX delegations_by_day  ON delegations (day, tokens_in, tokens_out, cost) WHERE day IS NOT NULL;
CREATE INDEX delegations_active  ON delegations (root, phase, tokens_in, tokens_out, cost) WHERE active = 1;
CREATE INDEX delegations_unseen  ON delegations (seq) WHERE active = 0 AND read_at IS NULL AND seen = 0;
