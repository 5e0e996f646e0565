-- Takes rows out of live that were copied to finished.
-- $1 seqs, a JSON array
DELETE FROM live WHERE seq IN (SELECT value FROM json_each($1))
