-- Locks the finished rows that orders name, in the order of seq.
-- $1 ids
-- Returns id, seq, state.
SELECT id, seq, state FROM finished WHERE id = ANY ($1::text[]) ORDER BY seq FOR UPDATE
