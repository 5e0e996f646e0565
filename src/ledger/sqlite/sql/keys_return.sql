-- Gives keys back that were taken in this transaction for jobs that are not accepted after all.
-- $1 keys, a JSON array
DELETE FROM keys WHERE key IN (SELECT value FROM json_each($1))
