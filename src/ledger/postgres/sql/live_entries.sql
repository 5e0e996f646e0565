-- Reads what the broker needs to know of live rows, in the order of seq: the source of every rebuild.
-- $1 the seq to start after, $2 the most rows
-- Returns entries.
SELECT seq, id, queue, type, priority, score, due_at, attempts, deliveries, crashes, deferrals,
       id_given OR idempotency_key IS NOT NULL AS keyed
FROM live
WHERE seq > $1
ORDER BY seq
LIMIT $2
