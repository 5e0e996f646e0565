-- Reads live rows by life.
-- $1 seqs, a JSON array
-- Returns whole jobs.
SELECT seq, id, type, queue, priority, payload, labels, due_at, waits_from, score, timeout_ms, max_attempts,
       idempotency_key, id_given, fingerprint, accepted_at, parent, attempts, deliveries, crashes,
       deferrals, fence, settled_fence, crash_1, crash_2, crash_3, history, error_class, error_message,
       NULL AS state, NULL AS result, NULL AS finished_at
FROM live
WHERE seq IN (SELECT value FROM json_each($1))
