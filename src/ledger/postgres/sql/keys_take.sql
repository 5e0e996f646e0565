-- Takes keys for jobs that are about to be accepted. Keys are taken in their own order, so that two
-- batches that want the same ones wait for each other and never deadlock.
-- $1 keys, $2 ids of their jobs, $3 fingerprints: arrays of equal length
-- Returns the keys that were free.
INSERT INTO keys (key, job_id, fingerprint)
SELECT asked.key, asked.job_id, asked.fingerprint
FROM unnest($1::text[], $2::text[], $3::bytea[]) AS asked (key, job_id, fingerprint)
ORDER BY asked.key
ON CONFLICT (key) DO NOTHING
RETURNING key
