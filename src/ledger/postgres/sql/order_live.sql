-- Locks the live rows that orders name, in the order of seq.
-- $1 ids
-- Returns id, seq.
SELECT id, seq FROM live WHERE id = ANY ($1::text[]) ORDER BY seq FOR UPDATE
