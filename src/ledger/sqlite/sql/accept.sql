-- Inserts new live rows, leaving out those whose id is live.
-- One row of VALUES a job; the program repeats the row for larger batches. Its parameters:
--   seq, id, type, queue, priority, payload, labels, due_at, waits_from, score, timeout_ms, max_attempts,
--   idempotency_key, id_given, fingerprint, accepted_at, parent
--   (seq above every one ever given; due_at, waits_from, accepted_at in ms since the epoch; score the
--   virtual deadline in ms)
-- Returns nothing; the number of rows says whether all were new.
WITH asked (seq, id, type, queue, priority, payload, labels, due_at, waits_from, score, timeout_ms, max_attempts,
    idempotency_key, id_given, fingerprint, accepted_at, parent) AS (
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
)
INSERT INTO live (seq, id, type, queue, priority, payload, labels, due_at, waits_from, score, timeout_ms, max_attempts,
    idempotency_key, id_given, fingerprint, accepted_at, parent)
SELECT asked.seq, asked.id, asked.type, asked.queue, asked.priority, asked.payload, asked.labels, asked.due_at,
    asked.waits_from, asked.score, asked.timeout_ms, asked.max_attempts, asked.idempotency_key,
    asked.id_given, asked.fingerprint, asked.accepted_at, asked.parent
FROM asked
-- The grammar wants a WHERE between a SELECT and an ON CONFLICT.
WHERE true
ON CONFLICT (id) DO NOTHING
