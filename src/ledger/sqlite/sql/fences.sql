-- Reads the fences of live rows.
-- $1 seqs, a JSON array
-- Returns seq, fence.
SELECT seq, fence FROM live WHERE seq IN (SELECT value FROM json_each($1))
