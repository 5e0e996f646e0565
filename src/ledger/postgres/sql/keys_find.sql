-- Looks up who holds keys.
-- $1 keys
-- Returns key, job_id, fingerprint, at_rest.
SELECT key, job_id, fingerprint, rest_at IS NOT NULL AS at_rest FROM keys WHERE key = ANY ($1::text[])
