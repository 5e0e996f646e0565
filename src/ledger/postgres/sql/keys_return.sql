-- Gives keys back that were taken in this transaction for jobs that are not accepted after all.
-- $1 keys
DELETE FROM keys WHERE key = ANY ($1::text[])
