-- The ledger: what was accepted and how it ended. All times are milliseconds since the Unix epoch.
-- The tables are those of the Postgres ledger; docs and queries name both alike.

-- Jobs that are not at rest. A row enters by an accept or an operator's revival and leaves by coming
-- to rest; AUTOINCREMENT never gives a seq twice, so nothing of a former life can touch a later one.
CREATE TABLE live (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT    NOT NULL UNIQUE,
    type            TEXT    NOT NULL,
    queue           TEXT    NOT NULL,
    priority        INTEGER NOT NULL CHECK (priority BETWEEN 1 AND 5),
    score           INTEGER NOT NULL,
    due_at          INTEGER,
    -- Since when this life waits to start: its due time, else when it was accepted, revived or put back.
    waits_from      INTEGER NOT NULL,
    timeout_ms      INTEGER,
    max_attempts    INTEGER NOT NULL CHECK (max_attempts >= 0),
    idempotency_key TEXT,
    id_given        INTEGER NOT NULL CHECK (id_given IN (0, 1)),
    fingerprint     BLOB    NOT NULL,
    accepted_at     INTEGER NOT NULL,
    parent          TEXT,
    attempts        INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    deliveries      INTEGER NOT NULL DEFAULT 0 CHECK (deliveries >= 0),
    crashes         INTEGER NOT NULL DEFAULT 0 CHECK (crashes >= 0),
    deferrals       INTEGER NOT NULL DEFAULT 0 CHECK (deferrals >= 0),
    fence           INTEGER NOT NULL DEFAULT 0,
    -- The highest fence whose settlement was applied; 0 is none.
    settled_fence   INTEGER NOT NULL DEFAULT 0,
    -- The last three crashes, newest first: a shift register.
    crash_1         INTEGER,
    crash_2         INTEGER,
    crash_3         INTEGER,
    labels          TEXT,
    history         TEXT,
    error_class     TEXT,
    error_message   TEXT,
    -- Last, because a long one spills to other pages and hides what stands behind it.
    payload         BLOB    NOT NULL,
    CHECK (settled_fence >= 0 AND settled_fence <= fence),
    CHECK ((error_class IS NULL) = (error_message IS NULL))
) STRICT;

-- Finds jobs that are late, type by type, oldest first.
CREATE INDEX live_late ON live (type, waits_from);

-- Jobs at rest.
CREATE TABLE finished (
    seq             INTEGER PRIMARY KEY,
    id              TEXT    NOT NULL UNIQUE,
    type            TEXT    NOT NULL,
    queue           TEXT    NOT NULL,
    priority        INTEGER NOT NULL CHECK (priority BETWEEN 1 AND 5),
    score           INTEGER NOT NULL,
    due_at          INTEGER,
    waits_from      INTEGER NOT NULL,
    timeout_ms      INTEGER,
    max_attempts    INTEGER NOT NULL CHECK (max_attempts >= 0),
    idempotency_key TEXT,
    id_given        INTEGER NOT NULL CHECK (id_given IN (0, 1)),
    fingerprint     BLOB    NOT NULL,
    accepted_at     INTEGER NOT NULL,
    parent          TEXT,
    attempts        INTEGER NOT NULL CHECK (attempts >= 0),
    deliveries      INTEGER NOT NULL CHECK (deliveries >= 0),
    crashes         INTEGER NOT NULL CHECK (crashes >= 0),
    deferrals       INTEGER NOT NULL CHECK (deferrals >= 0),
    fence           INTEGER NOT NULL,
    settled_fence   INTEGER NOT NULL,
    crash_1         INTEGER,
    crash_2         INTEGER,
    crash_3         INTEGER,
    state           TEXT    NOT NULL CHECK (state IN ('succeeded', 'failed', 'in_review', 'cancelled', 'expired')),
    finished_at     INTEGER NOT NULL,
    -- Payload and result together, so that retention can add them up from an index alone.
    bytes           INTEGER NOT NULL,
    labels          TEXT,
    history         TEXT,
    error_class     TEXT,
    error_message   TEXT,
    result          BLOB,
    payload         BLOB    NOT NULL,
    CHECK (settled_fence >= 0 AND settled_fence <= fence),
    CHECK ((error_class IS NULL) = (error_message IS NULL))
) STRICT;

-- What retention may drop, oldest first. Jobs in review are not in it: they stay.
CREATE INDEX finished_droppable ON finished (finished_at, bytes) WHERE state <> 'in_review';
-- Nearly every job succeeds, so pages of the others would read through all of them without this.
CREATE INDEX finished_other ON finished (state, seq) WHERE state <> 'succeeded';
CREATE INDEX finished_error ON finished (error_class, seq) WHERE error_class IS NOT NULL;

-- Given ids and idempotency keys. A row is written in the accept's own transaction and never moves,
-- whatever becomes of its job.
CREATE TABLE keys (
    key         TEXT    PRIMARY KEY,
    job_id      TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL,
    -- When its job came to rest; null while it is live.
    rest_at     INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX keys_at_rest ON keys (rest_at) WHERE rest_at IS NOT NULL;

CREATE TABLE pauses (
    kind    TEXT    NOT NULL CHECK (kind IN ('queue', 'type')),
    name    TEXT    NOT NULL,
    by_whom TEXT    NOT NULL,
    reason  TEXT    NOT NULL,
    since   INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT;

CREATE TABLE nodes (
    id           TEXT    PRIMARY KEY,
    name         TEXT    NOT NULL,
    started_at   INTEGER NOT NULL,
    heartbeat_at INTEGER NOT NULL,
    status       TEXT    NOT NULL
) STRICT;

-- Upkeep that only one holder may do at a time. A term lapses by itself.
CREATE TABLE terms (
    name       TEXT    PRIMARY KEY,
    holder     TEXT    NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

-- One row: which ledger this is. The id is drawn when the file is made.
CREATE TABLE meta (
    one             INTEGER PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    ledger_id       TEXT    NOT NULL,
    epoch           INTEGER NOT NULL DEFAULT 0 CHECK (epoch >= 0),
    broker_identity TEXT    NOT NULL DEFAULT ''
) STRICT;

-- A random UUID of version 4.
INSERT INTO meta (ledger_id)
SELECT lower(printf('%s-%s-4%s-%s%s-%s', substr(h, 1, 8), substr(h, 9, 4), substr(h, 13, 3),
                    substr('89ab', 1 + abs(random() % 4), 1), substr(h, 16, 3), substr(h, 19, 12)))
FROM (SELECT hex(randomblob(16)) AS h);
