-- Starts a new life of a job at rest: a new seq, counters and crash times at nothing, due at once.
-- History, error and fences stay.
-- $1 seq of the former life, $2 score of the new one (ms), $3 now (ms)
-- Returns the new seq.
INSERT INTO live (id, type, queue, priority, payload, labels, timeout_ms, max_attempts, idempotency_key,
                  id_given, fingerprint, accepted_at, parent, fence, settled_fence, history, error_class,
                  error_message, score, waits_from)
SELECT id, type, queue, priority, payload, labels, timeout_ms, max_attempts, idempotency_key, id_given,
       fingerprint, accepted_at, parent, fence, settled_fence, history, error_class, error_message, $2, $3
FROM finished
WHERE seq = $1
RETURNING seq
