-- Tells the keys of a job since when it rests, or with null that it lives again.
-- $1 seq of its finished row, $2 when (ms)
UPDATE keys
SET rest_at = $2
WHERE job_id = (SELECT id FROM finished WHERE seq = $1)
  AND key IN (SELECT 'id:' || id FROM finished WHERE seq = $1
              UNION ALL
              SELECT 'key:' || idempotency_key FROM finished WHERE seq = $1 AND idempotency_key IS NOT NULL)
