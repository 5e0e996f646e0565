-- Looks jobs up by id, live and at rest.
-- $1 ids, a JSON array
-- Returns id, seq, fingerprint, at_rest.
SELECT id, seq, fingerprint, 0 AS at_rest FROM live WHERE id IN (SELECT value FROM json_each($1))
UNION ALL
SELECT id, seq, fingerprint, 1 AS at_rest FROM finished WHERE id IN (SELECT value FROM json_each($1))
