-- Reads live rows by life.
-- $1 seqs
-- Returns whole jobs.
SELECT seq, id, type, queue, priority, payload, labels, due_at, waits_from, score, timeout_ms, max_attempts,
       idempotency_key, id_given, fingerprint, accepted_at, parent, attempts, deliveries, crashes,
       deferrals, fence, settled_fence, crash_1, crash_2, crash_3, history, error_class, error_message,
       NULL::text AS state, NULL::bytea AS result, NULL::bigint AS finished_at
FROM live
WHERE seq = ANY ($1::bigint[])
