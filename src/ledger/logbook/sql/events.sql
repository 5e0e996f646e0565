-- Reads events of a span of time, oldest first.
-- $1 from (ms), $2 until (ms, not in it), $3 the most rows
-- Returns events.
SELECT number, at, node, mark, node_name, kind, subject, words, detail
FROM events
WHERE at >= $1 AND at < $2
ORDER BY at, number
LIMIT $3
