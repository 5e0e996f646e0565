-- Forgets the keys of a job at rest.
-- $1 seq of its finished row
DELETE FROM keys
WHERE job_id = (SELECT id FROM finished WHERE seq = $1)
  AND key IN (SELECT 'id:' || id FROM finished WHERE seq = $1
              UNION ALL
              SELECT 'key:' || idempotency_key FROM finished WHERE seq = $1 AND idempotency_key IS NOT NULL)
