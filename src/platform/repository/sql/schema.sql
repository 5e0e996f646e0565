-- The element repository: every element with its present locators, and all that it had before.
CREATE TABLE IF NOT EXISTS elements (
    id INTEGER PRIMARY KEY,
    site TEXT NOT NULL,
    page TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    locators TEXT NOT NULL,
    -- Grows with every change of any element: a process that knows one number asks for what came after it.
    changed INTEGER NOT NULL,
    uses INTEGER NOT NULL DEFAULT 0,
    UNIQUE (site, page, name)
);
CREATE INDEX IF NOT EXISTS elements_changed ON elements (changed);
CREATE INDEX IF NOT EXISTS elements_name ON elements (name);
CREATE INDEX IF NOT EXISTS elements_uses ON elements (uses DESC);
CREATE TABLE IF NOT EXISTS versions (
    element INTEGER NOT NULL REFERENCES elements (id) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    locators TEXT NOT NULL,
    made_by TEXT NOT NULL,
    strategy TEXT,
    confidence REAL,
    made_at_ms INTEGER NOT NULL,
    PRIMARY KEY (element, version)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
