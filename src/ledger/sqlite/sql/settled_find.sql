-- Reads which fence was settled last, for settlements that did not apply.
-- $1 seqs, a JSON array
-- Returns seq, settled_fence of those that are live or at rest.
SELECT seq, settled_fence FROM live WHERE seq IN (SELECT value FROM json_each($1))
UNION ALL
SELECT seq, settled_fence FROM finished WHERE seq IN (SELECT value FROM json_each($1))
