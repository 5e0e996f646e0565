-- Inserts new live rows, leaving out those whose id is live.
-- $1..$16 arrays of equal length: id, type, queue, priority, payload, labels, due_at, waits_from, score, timeout_ms, max_attempts,
-- idempotency_key, id_given, fingerprint, accepted_at, parent
--   (due_at, waits_from, accepted_at in ms since the epoch; score the virtual deadline in ms)
-- Returns id and seq of the rows that are new.
INSERT INTO live (id, type, queue, priority, payload, labels, due_at, waits_from, score, timeout_ms, max_attempts,
    idempotency_key, id_given, fingerprint, accepted_at, parent)
SELECT asked.id, asked.type, asked.queue, asked.priority, asked.payload, asked.labels, asked.due_at,
    asked.waits_from, asked.score, asked.timeout_ms, asked.max_attempts, asked.idempotency_key,
    asked.id_given, asked.fingerprint, asked.accepted_at, asked.parent
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bytea[], $6::text[], $7::bigint[], $8::bigint[],
    $9::bigint[], $10::bigint[], $11::bigint[], $12::text[], $13::boolean[], $14::bytea[], $15::bigint[],
    $16::text[])
    AS asked (id, type, queue, priority, payload, labels, due_at, waits_from, score, timeout_ms, max_attempts,
    idempotency_key, id_given, fingerprint, accepted_at, parent)
ON CONFLICT (id) DO NOTHING
RETURNING id, seq
