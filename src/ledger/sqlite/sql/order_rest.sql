-- Copies a live job to finished by an operator's word. Its fences stay as they are, so that the outcome
-- of a run that is still under way finds its life at rest and is stale.
-- $1 seq, $2 state, $3 finished_at (ms), $4 error class, $5 error message (null: as it was)
INSERT INTO finished (seq, id, type, queue, priority, payload, labels, due_at, waits_from, score,
                      timeout_ms, max_attempts, idempotency_key, id_given, fingerprint, accepted_at, parent,
                      attempts, deliveries, crashes, deferrals, fence, settled_fence, crash_1, crash_2,
                      crash_3, history, error_class, error_message, state, finished_at, bytes)
SELECT seq, id, type, queue, priority, payload, labels, due_at, waits_from, score, timeout_ms, max_attempts,
       idempotency_key, id_given, fingerprint, accepted_at, parent, attempts, deliveries, crashes,
       deferrals, fence, settled_fence, crash_1, crash_2, crash_3, history,
       coalesce($4, error_class), coalesce($5, error_message), $2, $3, length(payload)
FROM live
WHERE seq = $1
