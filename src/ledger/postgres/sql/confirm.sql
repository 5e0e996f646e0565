-- Writes the fences of claims that are not clean first deliveries. The rule is that of a settlement:
-- the claim's fence is not below the row's and was not settled. Counters keep the larger figure; a
-- grown number of crashes is noted with its time.
-- Arrays of equal length, no seq twice:
--   $1 seq, $2 fence, $3 deliveries, $4 crashes, $5 deferrals, $6 time of the claim (ms)
-- Returns the rows as they are now.
WITH asked AS MATERIALIZED (
    -- Rows are locked in the order of seq, so that two batches never deadlock.
    SELECT asked.*
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
        AS asked (seq, fence, deliveries, crashes, deferrals, claimed_at)
    JOIN live ON live.seq = asked.seq
    WHERE live.fence <= asked.fence AND live.settled_fence < asked.fence
    ORDER BY live.seq
    FOR UPDATE OF live
)
UPDATE live
SET fence = asked.fence,
    deliveries = greatest(live.deliveries, asked.deliveries),
    deferrals = greatest(live.deferrals, asked.deferrals),
    crashes = greatest(live.crashes, asked.crashes),
    crash_1 = CASE WHEN asked.crashes > live.crashes THEN asked.claimed_at ELSE live.crash_1 END,
    crash_2 = CASE WHEN asked.crashes > live.crashes THEN live.crash_1 ELSE live.crash_2 END,
    crash_3 = CASE WHEN asked.crashes > live.crashes THEN live.crash_2 ELSE live.crash_3 END
FROM asked
WHERE live.seq = asked.seq
RETURNING live.seq, live.id, live.type, live.queue, live.priority, live.payload, live.labels, live.due_at,
          live.waits_from, live.score, live.timeout_ms, live.max_attempts, live.idempotency_key,
          live.id_given, live.fingerprint, live.accepted_at, live.parent, live.attempts, live.deliveries,
          live.crashes, live.deferrals, live.fence, live.settled_fence, live.crash_1, live.crash_2,
          live.crash_3, live.history, live.error_class, live.error_message,
          NULL::text AS state, NULL::bytea AS result, NULL::bigint AS finished_at
