-- Operations: what happened to the system itself. Small tables, bounded by age and number; all times are milliseconds
-- since the Unix epoch.

-- The timeline. Rows are only added, and dropped by retention.
CREATE TABLE events (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    at        INTEGER NOT NULL,
    -- The run of the daemon that noted it, and its number there: with them a repeated event is known.
    node      TEXT    NOT NULL,
    mark      INTEGER NOT NULL,
    -- The node's name, for people.
    node_name TEXT    NOT NULL,
    kind      TEXT    NOT NULL CHECK (kind IN ('alert', 'action', 'breaker', 'shedding', 'scaling', 'worker', 'pause',
                                               'order', 'store', 'node', 'review', 'integrity')),
    subject   TEXT    NOT NULL,
    words     TEXT    NOT NULL,
    -- Figures, JSON.
    detail    TEXT,
    UNIQUE (node, mark)
) STRICT;

CREATE INDEX events_at ON events (at, number);
-- What counts as a response to an incident, beside remedies.
CREATE INDEX events_response ON events (at) WHERE kind IN ('pause', 'order');

CREATE TABLE incidents (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The alert that opened it.
    name        TEXT    NOT NULL,
    -- The worst among its alerts.
    severity    TEXT    NOT NULL,
    detected_at INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    -- Null while one of its alerts fires.
    resolved_at INTEGER,
    -- What it cost, JSON, once it has been counted for good.
    impact      TEXT
) STRICT;

CREATE INDEX incidents_resolved ON incidents (resolved_at);

-- One row for each occurrence of an alert.
CREATE TABLE alerts (
    fingerprint TEXT    NOT NULL,
    starts_at   INTEGER NOT NULL,
    -- Null while it fires.
    ends_at     INTEGER,
    incident    INTEGER NOT NULL,
    name        TEXT    NOT NULL,
    severity    TEXT    NOT NULL,
    -- JSON objects of texts.
    labels      TEXT    NOT NULL,
    annotations TEXT    NOT NULL,
    received_at INTEGER NOT NULL,
    heard_at    INTEGER NOT NULL,
    -- Whether it was taken for ended because nobody had told of it for long.
    lapsed      INTEGER NOT NULL DEFAULT 0 CHECK (lapsed IN (0, 1)),
    PRIMARY KEY (fingerprint, starts_at)
) STRICT;

CREATE INDEX alerts_incident ON alerts (incident, starts_at);
CREATE INDEX alerts_firing ON alerts (heard_at) WHERE ends_at IS NULL;

-- What people filled in of a review.
CREATE TABLE incident_parts (
    incident INTEGER NOT NULL,
    part     TEXT    NOT NULL CHECK (part IN ('root_cause', 'action_items', 'notes')),
    text     TEXT    NOT NULL,
    by_whom  TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (incident, part)
) STRICT;

-- What was tried, and whether it helped.
CREATE TABLE remediations (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Drawn by who begins it, so that asking again is harmless.
    ticket      TEXT    NOT NULL UNIQUE,
    incident    INTEGER,
    -- The occurrence of an alert that it is tried for; empty, empty and 0: somebody asked for it.
    alert       TEXT    NOT NULL,
    fingerprint TEXT    NOT NULL,
    starts_at   INTEGER NOT NULL,
    action      TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    target      TEXT    NOT NULL,
    node        TEXT    NOT NULL,
    node_name   TEXT    NOT NULL,
    by_whom     TEXT    NOT NULL,
    is_dry      INTEGER NOT NULL CHECK (is_dry IN (0, 1)),
    began_at    INTEGER NOT NULL,
    ended_at    INTEGER,
    state       TEXT    NOT NULL CHECK (state IN ('running', 'healed', 'failed', 'suppressed', 'dry_run')),
    -- Why it was suppressed; empty where it was not.
    reason      TEXT    NOT NULL,
    words       TEXT    NOT NULL,
    -- The evidence, JSON.
    before      TEXT,
    after       TEXT,
    CHECK ((ended_at IS NULL) = (state = 'running')),
    CHECK ((reason <> '') = (state = 'suppressed'))
) STRICT;

-- An action begins once for an occurrence, and is suppressed for it once for each target and reason.
CREATE UNIQUE INDEX remediations_once ON remediations (action, fingerprint, starts_at, is_dry)
    WHERE state <> 'suppressed' AND fingerprint <> '';
CREATE UNIQUE INDEX remediations_suppressed ON remediations (action, target, reason, fingerprint, starts_at)
    WHERE state = 'suppressed';
CREATE INDEX remediations_begun ON remediations (began_at) WHERE state <> 'suppressed';
CREATE INDEX remediations_incident ON remediations (incident) WHERE incident IS NOT NULL;
