-- Reads jobs by id, live or at rest.
-- $1 ids
-- Returns whole jobs.
SELECT seq, id, type, queue, priority, payload, labels, due_at, waits_from, score, timeout_ms, max_attempts,
       idempotency_key, id_given, fingerprint, accepted_at, parent, attempts, deliveries, crashes,
       deferrals, fence, settled_fence, crash_1, crash_2, crash_3, history, error_class, error_message,
       NULL::text AS state, NULL::bytea AS result, NULL::bigint AS finished_at
FROM live
WHERE id = ANY ($1::text[])
UNION ALL
SELECT seq, id, type, queue, priority, payload, labels, due_at, waits_from, score, timeout_ms, max_attempts,
       idempotency_key, id_given, fingerprint, accepted_at, parent, attempts, deliveries, crashes,
       deferrals, fence, settled_fence, crash_1, crash_2, crash_3, history, error_class, error_message,
       state, result, finished_at
FROM finished
WHERE id = ANY ($1::text[])
