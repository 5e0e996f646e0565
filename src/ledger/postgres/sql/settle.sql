-- Settles runs: those at rest move from live to finished, the others stay live and are due again.
-- A settlement applies if its fence is not below the row's and was not settled yet.
-- Arrays of equal length, sorted by seq, no seq twice:
--   $1 seq, $2 fence, $3 state at rest (null: a retry), $4 result, $5 finished_at (ms), $6 bucket,
--   $7 due_at (ms, retries only), $8 attempts, $9 deliveries, $10 crashes, $11 deferrals,
--   $12 history, $13 error_class, $14 error_message, $15 whether the job has keys
-- Returns the seqs that applied.
WITH locked AS MATERIALIZED (
    -- Rows are locked in the order of seq, so that two batches never deadlock.
    SELECT asked.*
    FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bytea[], $5::bigint[], $6::bigint[], $7::bigint[],
                $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::text[], $13::text[], $14::text[],
                $15::boolean[])
        AS asked (seq, fence, state, result, finished_at, bucket, due_at, attempts, deliveries, crashes, deferrals,
                  history, error_class, error_message, keyed)
    JOIN live ON live.seq = asked.seq
    WHERE live.fence <= asked.fence AND live.settled_fence < asked.fence
    ORDER BY live.seq
    FOR UPDATE OF live
),
retried AS (
    UPDATE live
    SET due_at = locked.due_at, waits_from = locked.due_at, fence = locked.fence, settled_fence = locked.fence,
        attempts = locked.attempts, deliveries = locked.deliveries, crashes = locked.crashes,
        deferrals = locked.deferrals, history = locked.history, error_class = locked.error_class,
        error_message = locked.error_message
    FROM locked
    WHERE live.seq = locked.seq AND locked.state IS NULL
),
gone AS (
    DELETE FROM live
    USING locked
    WHERE live.seq = locked.seq AND locked.state IS NOT NULL
    RETURNING live.seq, live.id, live.type, live.queue, live.priority, live.payload, live.labels,
              live.due_at, live.waits_from, live.score, live.timeout_ms, live.max_attempts,
              live.idempotency_key, live.id_given, live.fingerprint, live.accepted_at, live.parent,
              live.crash_1, live.crash_2, live.crash_3,
              locked.fence, locked.fence AS settled_fence, locked.attempts, locked.deliveries,
              locked.crashes, locked.deferrals, locked.history, locked.error_class, locked.error_message,
              locked.state, locked.result, locked.finished_at, locked.bucket, locked.keyed
),
moved AS (
    INSERT INTO finished (seq, id, type, queue, priority, payload, labels, due_at, waits_from, score,
                          timeout_ms, max_attempts, idempotency_key, id_given, fingerprint, accepted_at,
                          parent, crash_1, crash_2, crash_3, fence, settled_fence, attempts, deliveries,
                          crashes, deferrals, history, error_class, error_message, state, result,
                          finished_at, bucket)
    SELECT seq, id, type, queue, priority, payload, labels, due_at, waits_from, score, timeout_ms,
           max_attempts, idempotency_key, id_given, fingerprint, accepted_at, parent, crash_1, crash_2,
           crash_3, fence, settled_fence, attempts, deliveries, crashes, deferrals, history, error_class,
           error_message, state, result, finished_at, bucket
    FROM gone
),
rested AS (
    UPDATE keys
    SET rest_at = held.finished_at
    FROM (
        SELECT held.key, gone.id, gone.finished_at
        FROM gone
        CROSS JOIN LATERAL (VALUES ('id:' || gone.id), ('key:' || gone.idempotency_key)) AS held (key)
        WHERE gone.keyed AND held.key IS NOT NULL
    ) AS held
    WHERE keys.key = held.key AND keys.job_id = held.id
)
SELECT seq FROM locked
