-- What of a long answer goes beyond `texts.text`, in the order of `n`. Pieces are written one by one before the
-- decision, so that none holds others up for long; they count only once the decision names their number.
CREATE TABLE pieces (
    delegation INTEGER NOT NULL REFERENCES delegations (seq) ON DELETE CASCADE,
    attempt    INTEGER NOT NULL,
    n          INTEGER NOT NULL,
    text       TEXT    NOT NULL,
    UNIQUE (delegation, attempt, n)
) STRICT;
ALTER TABLE texts ADD COLUMN pieces INTEGER NOT NULL DEFAULT 0;
