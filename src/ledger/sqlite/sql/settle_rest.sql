-- Copies live rows to finished with their outcomes; the caller has checked the fences.
-- One row of VALUES a settlement; the program repeats the row for larger batches. Its parameters:
--   seq, state, result, finished_at, fence, attempts, deliveries, crashes, deferrals, history, error_class,
--   error_message
--   (finished_at in ms since the epoch)
WITH asked (seq, state, result, finished_at, fence, attempts, deliveries, crashes, deferrals, history, error_class,
    error_message) AS (
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
)
INSERT INTO finished (seq, id, type, queue, priority, payload, labels, due_at, waits_from, score, timeout_ms, max_attempts,
    idempotency_key, id_given, fingerprint, accepted_at, parent, crash_1, crash_2, crash_3, fence,
    settled_fence, attempts, deliveries, crashes, deferrals, history, error_class, error_message, state,
    result, finished_at, bytes)
SELECT live.seq, live.id, live.type, live.queue, live.priority, live.payload, live.labels, live.due_at,
    live.waits_from, live.score, live.timeout_ms, live.max_attempts, live.idempotency_key, live.id_given,
    live.fingerprint, live.accepted_at, live.parent, live.crash_1, live.crash_2, live.crash_3, asked.fence,
    asked.fence, asked.attempts, asked.deliveries, asked.crashes, asked.deferrals, asked.history,
    asked.error_class, asked.error_message, asked.state, asked.result, asked.finished_at,
    length(live.payload) + coalesce(length(asked.result), 0)
FROM asked
CROSS JOIN live ON live.seq = asked.seq
