-- Reads the finished rows that orders name.
-- $1 ids, a JSON array
-- Returns id, seq, state.
SELECT id, seq, state FROM finished WHERE id IN (SELECT value FROM json_each($1))
