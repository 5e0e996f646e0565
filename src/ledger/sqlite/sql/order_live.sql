-- Reads the live rows that orders name.
-- $1 ids, a JSON array
-- Returns id, seq.
SELECT id, seq FROM live WHERE id IN (SELECT value FROM json_each($1))
