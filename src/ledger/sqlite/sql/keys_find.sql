-- Looks up who holds keys.
-- $1 keys, a JSON array
-- Returns key, job_id, fingerprint, at_rest.
SELECT key, job_id, fingerprint, rest_at IS NOT NULL AS at_rest FROM keys
WHERE key IN (SELECT value FROM json_each($1))
