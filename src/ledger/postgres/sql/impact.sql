-- Counts what became of jobs within a span of time, by queue and state. It reads every row that came to rest since its
-- beginning and every live one, so it has a deadline and is asked seldom.
-- $1 from (ms), $2 until (ms, not in it), arrays of equal length: $3 type, $4 its SLA (ms); $5 the first partition
-- Returns queue, state (empty: live), accepted, finished, late, put_off, open.
WITH slas AS (
    SELECT type, sla_ms FROM unnest($3::text[], $4::bigint[]) AS asked (type, sla_ms)
),
rest AS (
    SELECT finished.queue, finished.state, finished.accepted_at, finished.waits_from, finished.finished_at,
           finished.deferrals, slas.sla_ms,
           (history::json -> 0 ->> 'started_at')::bigint AS started_at
    FROM finished
    LEFT JOIN slas ON slas.type = finished.type
    WHERE finished.finished_at >= $1 AND finished.bucket >= $5
)
SELECT queue, state,
       count(*) FILTER (WHERE accepted_at >= $1 AND accepted_at < $2) AS accepted,
       count(*) FILTER (WHERE finished_at < $2) AS finished,
       -- A job that was put back waits anew, so its first wait began with its acceptance.
       count(*) FILTER (WHERE coalesce(started_at, finished_at) >= $1
                          AND coalesce(started_at, finished_at) < $2
                          AND coalesce(started_at, finished_at)
                              - CASE WHEN waits_from > coalesce(started_at, finished_at) THEN accepted_at
                                     ELSE waits_from END > sla_ms) AS late,
       count(*) FILTER (WHERE finished_at < $2 AND deferrals > 0) AS put_off,
       0 AS open
FROM rest
GROUP BY queue, state
UNION ALL
SELECT queue, '' AS state,
       count(*) FILTER (WHERE accepted_at >= $1) AS accepted,
       0 AS finished, 0 AS late, 0 AS put_off,
       count(*) AS open
FROM live
WHERE accepted_at < $2
GROUP BY queue
