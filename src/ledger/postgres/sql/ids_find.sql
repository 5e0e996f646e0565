-- Looks jobs up by id, live and at rest.
-- $1 ids
-- Returns id, seq, fingerprint, at_rest.
SELECT id, seq, fingerprint, FALSE AS at_rest FROM live WHERE id = ANY ($1::text[])
UNION ALL
SELECT id, seq, fingerprint, TRUE AS at_rest FROM finished WHERE id = ANY ($1::text[])
