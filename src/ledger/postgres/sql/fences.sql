-- Reads the fences of live rows.
-- $1 seqs
-- Returns seq, fence.
SELECT seq, fence FROM live WHERE seq = ANY ($1::bigint[])
