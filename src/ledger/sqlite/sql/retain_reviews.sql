-- Drops the reviews of finished jobs that go.
-- $1 seqs of their rows, a JSON array
DELETE FROM reviews
WHERE decision IS NOT NULL
  AND job_id IN (SELECT id FROM finished WHERE seq IN (SELECT value FROM json_each($1)))
