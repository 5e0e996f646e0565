-- Takes keys for jobs that are about to be accepted.
-- $1 a JSON array of [key, id of its job, fingerprint in hex]
-- Returns the keys that were free.
INSERT INTO keys (key, job_id, fingerprint)
SELECT value ->> 0, value ->> 1, unhex(value ->> 2)
FROM json_each($1)
WHERE TRUE
ON CONFLICT (key) DO NOTHING
RETURNING key
