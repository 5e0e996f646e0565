-- Writes to its place what of the log no reader still needs, waiting for none.
-- Returns busy: whether somebody else is at it.
PRAGMA wal_checkpoint(PASSIVE)
