-- Writes the fences of claims that are not clean first deliveries. The rule is that of a settlement:
-- the claim's fence is not below the row's and was not settled. Counters keep the larger figure; a
-- grown number of crashes is noted with its time.
-- $1 a JSON array of [seq, fence, deliveries, crashes, deferrals, time of the claim (ms)], no seq twice
-- Returns the seqs whose rows were written.
UPDATE live
SET fence = asked.fence,
    deliveries = max(live.deliveries, asked.deliveries),
    deferrals = max(live.deferrals, asked.deferrals),
    crashes = max(live.crashes, asked.crashes),
    crash_1 = CASE WHEN asked.crashes > live.crashes THEN asked.claimed_at ELSE live.crash_1 END,
    crash_2 = CASE WHEN asked.crashes > live.crashes THEN live.crash_1 ELSE live.crash_2 END,
    crash_3 = CASE WHEN asked.crashes > live.crashes THEN live.crash_2 ELSE live.crash_3 END
FROM (
    SELECT value ->> 0 AS seq, value ->> 1 AS fence, value ->> 2 AS deliveries, value ->> 3 AS crashes,
           value ->> 4 AS deferrals, value ->> 5 AS claimed_at
    FROM json_each($1)
) AS asked
WHERE live.seq = asked.seq AND live.fence <= asked.fence AND live.settled_fence < asked.fence
RETURNING seq
