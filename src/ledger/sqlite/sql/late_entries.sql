-- Reads live rows of a type that have waited since before a point in time, oldest first.
-- $1 type, $2 the point (ms since the epoch), $3 the most rows
-- Returns entries.
SELECT seq, id, queue, type, priority, score, due_at, attempts, deliveries, crashes, deferrals,
       id_given OR idempotency_key IS NOT NULL AS keyed
FROM live
WHERE type = $1 AND waits_from < $2
ORDER BY waits_from, seq
LIMIT $3
