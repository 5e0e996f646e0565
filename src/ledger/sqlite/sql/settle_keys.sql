-- Tells the keys of jobs that they rest.
-- $1 seqs of finished rows, a JSON array
UPDATE keys
SET rest_at = rested.finished_at
FROM (
    SELECT 'id:' || id AS key, id, finished_at FROM finished WHERE seq IN (SELECT value FROM json_each($1))
    UNION ALL
    SELECT 'key:' || idempotency_key, id, finished_at FROM finished
    WHERE seq IN (SELECT value FROM json_each($1)) AND idempotency_key IS NOT NULL
) AS rested
WHERE keys.key = rested.key AND keys.job_id = rested.id
