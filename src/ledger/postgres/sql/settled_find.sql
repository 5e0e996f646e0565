-- Reads which fence was settled last, for settlements that did not apply.
-- $1 seqs
-- Returns seq, settled_fence of those that are live or at rest.
SELECT seq, settled_fence FROM live WHERE seq = ANY ($1::bigint[])
UNION ALL
SELECT seq, settled_fence FROM finished WHERE seq = ANY ($1::bigint[])
