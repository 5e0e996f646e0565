-- Drops finished jobs.
-- $1 seqs, a JSON array
DELETE FROM finished WHERE seq IN (SELECT value FROM json_each($1))
