-- Forgets the reviews of a job at rest.
-- $1 seq of its finished row
DELETE FROM reviews WHERE job_id = (SELECT id FROM finished WHERE seq = $1)
