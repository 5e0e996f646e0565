-- Forgets a job at rest.
-- $1 seq
DELETE FROM finished WHERE seq = $1
