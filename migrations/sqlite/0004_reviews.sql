-- Reviews: what waits, or waited, for a person. A row enters with the outcome that brings a life to review and is
-- closed by whoever decides; it is dropped with its job. All times are milliseconds since the Unix epoch.
CREATE TABLE reviews (
    -- The order in which they were opened.
    number           INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The life. Its job may live on in another one.
    seq              INTEGER NOT NULL UNIQUE,
    job_id           TEXT    NOT NULL,
    queue            TEXT    NOT NULL,
    type             TEXT    NOT NULL,
    opened_at        INTEGER NOT NULL,
    reason           TEXT    NOT NULL CHECK (reason IN ('requested', 'failed', 'poison', 'late')),
    -- The error that the job had when it came here.
    error_class      TEXT,
    error_message    TEXT,
    -- Null while it is open.
    decision         TEXT    CHECK (decision IN ('approved', 'edited', 'rejected', 'retried')),
    decided_at       INTEGER,
    decided_by       TEXT,
    note             TEXT,
    -- What a reviewer put in the place of the proposal.
    decided_proposal BLOB,
    -- What the handler gave, JSON as bytes.
    proposal         BLOB,
    evidence         BLOB,
    on_approve       BLOB,
    CHECK ((decision IS NULL) = (decided_at IS NULL)
           AND (decision IS NULL) = (decided_by IS NULL)
           AND (decision IS NULL) = (note IS NULL)),
    CHECK ((error_class IS NULL) = (error_message IS NULL))
) STRICT;

CREATE INDEX reviews_open ON reviews (number) WHERE decision IS NULL;
-- Open ones are counted every few seconds: from this index alone.
CREATE INDEX reviews_backlog ON reviews (reason, opened_at, decision) WHERE decision IS NULL;
CREATE INDEX reviews_decided ON reviews (number) WHERE decision IS NOT NULL;
CREATE INDEX reviews_job ON reviews (job_id);

-- Jobs that came to review before there was this table.
INSERT INTO reviews (seq, job_id, queue, type, opened_at, reason, error_class, error_message)
SELECT seq, id, queue, type, finished_at,
       CASE error_class WHEN 'review' THEN 'requested' WHEN 'poison' THEN 'poison' WHEN 'late' THEN 'late'
                        ELSE 'failed' END,
       error_class, error_message
FROM finished
WHERE state = 'in_review'
ORDER BY seq;
