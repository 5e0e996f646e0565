-- Writes the whole log to its place and empties it, waiting for the readers that look at it.
-- Returns busy: whether one of them did not end in time.
PRAGMA wal_checkpoint(TRUNCATE)
